"""The local plane: a Kubernetes control plane and the engines, started and ended as processes of this machine."""

from hack.plane.binaries import BinaryMissing
from hack.plane.plane import Part, Plane, PlaneOptions
from hack.plane.process import ProcessError, Server

__all__ = ["BinaryMissing", "Part", "Plane", "PlaneOptions", "ProcessError", "Server"]
