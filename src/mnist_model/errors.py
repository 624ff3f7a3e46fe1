"""What goes wrong on purpose, in one line: what, which value, what next."""


class DataError(ValueError):
    """A data file is missing, damaged, or not what it says it is."""


class SettingsError(ValueError):
    """A setting, or the value given for one, is unknown."""
