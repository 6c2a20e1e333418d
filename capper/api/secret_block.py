"""A key in a Secret."""

from capper.api.fields import Name, ShortText
from capper.api.rules import ApiModel


class SecretKeyRef(ApiModel):
    """A key in a Secret of this resource's namespace."""

    name: Name
    """Name of the Secret."""
    key: ShortText = "token"
    """Key in it."""
