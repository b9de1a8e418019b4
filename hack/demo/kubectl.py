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

    def secret(self, name: str, namespace: str) -> dict[str, str]:
        """Values of a Secret."""
        found = self.get("secret", name, f"--namespace={namespace}")
        return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}
