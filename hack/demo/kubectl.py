"""kubectl, as the administrator of the demo's plane."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import Any

from hack.plane.process import ProcessError
from hack.plane.state import KubernetesFacts


class Kubectl:
    """Called with arguments, it gives what kubectl prints. Raises ProcessError with what it says."""

    def __init__(self, kubernetes: KubernetesFacts) -> None:
        self._command = (kubernetes.kubectl, f"--kubeconfig={kubernetes.kubeconfig}")

    def __call__(self, *arguments: str, text: str = "") -> str:
        ran = subprocess.run([*self._command, *arguments], input=text, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise ProcessError(f"kubectl {' '.join(arguments)}: {ran.stderr.strip()}")
        return ran.stdout

    def get(self, *arguments: str) -> Any:
        """Objects as the API has them."""
        return json.loads(self("get", *arguments, "--output=json"))

    def secrets(self, namespace: str) -> dict[str, dict[str, str]]:
        """Values of all Secrets of a namespace, by their names."""
        return {
            each["metadata"]["name"]: {
                key: base64.b64decode(value).decode() for key, value in each.get("data", {}).items()
            }
            for each in self.get("secrets", f"--namespace={namespace}")["items"]
        }
