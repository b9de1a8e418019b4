"""The local plane: a Kubernetes control plane and the engines, started and ended as processes of this machine."""
