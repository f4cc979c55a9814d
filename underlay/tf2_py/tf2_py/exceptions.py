"""Why a transform cannot be given."""


class TransformException(Exception):
    """Base of every error below."""


class ConnectivityException(TransformException):
    """The two frames are in different trees."""


class LookupException(TransformException):
    """A frame has never been heard of, or the frames form a loop."""


class ExtrapolationException(TransformException):
    """The time asked for lies outside the times in the buffer."""


class InvalidArgumentException(TransformException):
    """A frame name is empty or starts with a slash."""


class TimeoutException(TransformException):
    """An answer did not come in time."""
