"""The platform service: what data planes and data clusters join. It knows nothing of the operator's side."""
