"""What every table of settings is."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of settings: frozen, and closed to unknown keys."""

    # Aliases are for keys that Python can't have as a name, such as `continue` or `from`.
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, serialize_by_alias=True
    )
