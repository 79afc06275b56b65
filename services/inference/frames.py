"""How the service and its decoding processes talk over a pipe: a header of two lengths, then the bytes."""

import struct

QUESTION = struct.Struct(">II")
"""Length of the preprocessing as JSON, length of the encoded image; both follow."""

ANSWER = struct.Struct(">BI")
"""0 and the length of the pixels (uint8 [size, size, 3], C order), or 1 and the length of the reason in UTF-8."""

PIXELS, REFUSED = 0, 1
