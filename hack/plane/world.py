"""A world in which workloads become available without a kubelet: KWOK and one node that it plays."""

from pathlib import Path
from typing import Any

import aiohttp

from hack.plane.kubernetes import ApiServer, Pki, client_user, kubeconfig
from hack.plane.ports import LOOPBACK
from hack.plane.private import write_private
from hack.plane.probe import status_of
from hack.plane.process import Launch, Server
from hack.plane.site import Site

STAGES = Path(__file__).with_name("stages.yaml")
NODE = "node-0"
NODE_MANIFEST = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {
        "name": NODE,
        "labels": {
            "kubernetes.io/hostname": NODE,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "type": "kwok",
        },
    },
}


class Kwok(Server):
    """KWOK: plays the kubelet of every node, by the rules in stages.yaml.

    Stopped, nothing becomes ready any more and deleted pods stay: the world of a data plane whose nodes are down.
    """

    def __init__(self, site: Site, program: Path, pki: Pki, api: ApiServer) -> None:
        folder = site.folder("kwok")
        self._address = f"{LOOPBACK}:{site.ports.reserve()}"
        self._api = api
        user = pki.authority.client("kwok", ["system:masters"])
        login = write_private(folder / "kwok.kubeconfig", kubeconfig(api, client_user(user)))
        argv = [
            str(program),
            f"--kubeconfig={login}",
            f"--config={STAGES}",
            "--manage-all-nodes",
            "--node-lease-duration-seconds=40",
            f"--server-address={self._address}",
        ]
        # HOME: it would read a configuration of the user's.
        super().__init__("kwok", site.warden, Launch(argv, folder / "kwok.log", env={"HOME": str(folder)}))

    async def answers(self) -> bool:
        """It is up, and its node is ready and accepts pods."""
        if await status_of(f"http://{self._address}/healthz") != 200:
            return False
        try:
            _, node = await self._api.request("GET", f"/api/v1/nodes/{NODE}")
        except aiohttp.ClientError:
            return False
        return accepts_pods(node)

    async def add_node(self) -> None:
        """Make the node. Again is no harm: it is there already."""
        await self._api.request("POST", "/api/v1/nodes", NODE_MANIFEST)


def accepts_pods(node: dict[str, Any]) -> bool:
    """Whether a node, as the API server shows it, is ready and without taints."""
    conditions = {found["type"]: found["status"] for found in node.get("status", {}).get("conditions", ())}
    return conditions.get("Ready") == "True" and not node.get("spec", {}).get("taints")
