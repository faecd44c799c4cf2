"""The one exception for mistakes that a user can mend."""


class UserError(Exception):
    """One line that names the thing and the mend; the command line prints it and exits with status 2."""


class TrainingStoppedError(UserError):
    """A run went wrong (NaN, collapse); its last good checkpoint is kept."""
