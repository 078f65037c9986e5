"""The one error of this room."""


class PlanError(ValueError):
    """A plan that cannot be made, with the reason."""
