"""Slice views of a MRML scene as pictures, rendered by slicer-core without the application.

The same classes draw in Slicer: slice logics blend the volumes, displayable managers add
segmentations and transforms. What a view looks like here is what it looks like there, apart from
the window around it. Needs an EGL library (Debian: libegl1, libgl1-mesa-dri), but no display.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

_COLOURS = {"Axial": "Red", "Sagittal": "Yellow", "Coronal": "Green"}


class SliceView:
    """One slice view of a scene, rendered off screen.

    Parameters
    ----------
    scene
        The MRML scene; it gets a slice node and a composite node.
    orientation
        ``Axial``, ``Sagittal`` or ``Coronal``.
    size
        Pixels along both sides.
    """

    def __init__(self, scene: Any, orientation: str = "Axial", size: int = 400) -> None:
        self.scene = scene
        self._application = slicer.vtkMRMLApplicationLogic()
        self._application.SetMRMLScene(scene)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(self._application)
        self.logic.SetMRMLScene(scene)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
        self.node = self.logic.AddSliceNode(_COLOURS[orientation])
        self.node.SetOrientation(orientation)
        self.node.SetDimensions(size, size, 1)
        self.composite = self.logic.GetSliceCompositeNode()
        self.window = vtk.vtkEGLRenderWindow()
        self.window.SetSize(size, size)
        self.window.SetMultiSamples(0)
        self._renderer = vtk.vtkRenderer()
        self._renderer.SetBackground(0.0, 0.0, 0.0)
        self.window.AddRenderer(self._renderer)
        self._add_image()
        self._managers = self._add_managers()

    def _add_image(self) -> None:
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255.0)
        mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddActor2D(actor)
        self._mapper = mapper

    def _add_managers(self) -> Any:
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self.window)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(self._application)
        for name in ("Segmentations", "Transforms"):
            manager = f"vtkMRML{name}DisplayableManager2D"
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        group = slicer.vtkMRMLDisplayableManagerGroup()
        group.SetRenderer(self._renderer)
        group.Initialize(factory, self._renderer)
        group.SetMRMLDisplayableNode(self.node)
        return group

    def fit(self, volume: Any, point: tuple[float, float, float] | None = None) -> None:
        """Fill the view with a volume, at a point in RAS mm (its middle unless given)."""
        self.composite.SetBackgroundVolumeID(volume.GetID())
        self.logic.FitSliceToAll()
        if point is not None:
            self.node.JumpSliceByOffsetting(*point)

    def render(self) -> np.ndarray[Any, Any]:
        """Return the picture, uint8 (rows from the top, columns, RGB)."""
        self.logic.UpdatePipeline()
        # The logic exchanges its pipeline when layers come and go.
        self._mapper.SetInputConnection(self.logic.GetImageDataConnection())
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        image = grab.GetOutput()
        columns, rows, _ = image.GetDimensions()
        pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1)
        return np.ascontiguousarray(pixels[::-1, :, :3])


def read_picture(path: Path) -> np.ndarray[Any, Any]:
    """Return a PNG file as uint8 (rows from the top, columns, RGB)."""
    reader = vtk.vtkPNGReader()
    reader.SetFileName(str(path))
    reader.Update()
    image = reader.GetOutput()
    columns, rows, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1)
    return np.ascontiguousarray(pixels[::-1, :, :3])


def write_picture(path: Path, pixels: np.ndarray[Any, Any]) -> None:
    """Write a picture, uint8 (rows from the top, columns, RGB), as PNG."""
    image = vtk.vtkImageData()
    image.SetDimensions(pixels.shape[1], pixels.shape[0], 1)
    data = numpy_to_vtk(np.ascontiguousarray(pixels[::-1]).reshape(-1, 3), deep=1)
    image.GetPointData().SetScalars(data)
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetCompressionLevel(9)
    writer.SetInputData(image)
    writer.Write()
