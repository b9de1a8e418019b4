"""The operator's side of the platform's protocol: how a plane and its data clusters join, and stay connected."""
