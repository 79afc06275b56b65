"""How the service and its decoding processes talk: words over a pipe, pixels through memory that both have open.

The memory is a file without a name (memfd), read and written by calls and never mapped: what a process that a
crafted image has taken over does to it can give wrong pixels to its own request, and cannot stop the service.
"""

import struct

QUESTION = struct.Struct(">QII")
"""The question's number, length of the preprocessing as JSON, number of images. The preprocessing follows, then the
images' lengths (LENGTH each), then the encoded images."""

LENGTH = struct.Struct(">I")

ANSWER = struct.Struct(">BI")
"""One for each image: PIXELS and 0, or REFUSED and the length of the reason in UTF-8, which follows."""

PIXELS, REFUSED = 0, 1

DROPPED = struct.Struct(">Q")
"""At the memory's start: the number of the last question that nobody waits for any more. Its images are refused."""

PIXELS_AT = 64
"""Where the pixels of image 0 stand, uint8 [size, size, 3] in C order; the others follow it."""
