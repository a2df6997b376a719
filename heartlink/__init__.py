"""HeartLink (心动链接): people talking, and their rights, live, on one port."""

__version__ = "0.2.0"
