"""`interp discover`: the main job."""
def discover() -> None:
    """x"""
