"""Plots in vispy that docks share."""
