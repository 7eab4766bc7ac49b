"""Jobs, events, the process that runs them and the client that talks to it.

Windows, command line and other programs describe work as a job (:mod:`.jobs`) and hear about it in
events (:mod:`.events`). A job runs in the interactive child (:mod:`.client` starts it,
:mod:`.child` is its inside), in a detached training process (:mod:`.launch`) or in the caller's own
process (:mod:`.dispatch`). Nothing here imports torch before a job needs it.
"""
