"""The wordmark, and the few looks that Streamlit has no option for."""

from functools import cache

from PIL import Image, ImageDraw

LOGO = """
<svg xmlns="http://www.w3.org/2000/svg" width="118" height="32" viewBox="0 0 118 32" role="img" aria-label="AIMIC">
  <circle cx="16" cy="16" r="14" fill="#D3E6E6" stroke="#0B6B6B" stroke-width="2"/>
  <path d="M9 15a5 5 0 0 1 9-3 5 5 0 1 1 0 9 5 5 0 0 1-8-2 4 4 0 0 1-1-4z" fill="#0B6B6B"/>
  <text x="38" y="23.5" font-family="'Source Sans 3','Source Sans',Helvetica,Arial,sans-serif" font-size="22"
    font-weight="700" letter-spacing="1" fill="#16262B">AIMIC</text>
</svg>
"""
"""A cell with its nucleus."""


@cache
def icon() -> Image.Image:
    """The same cell for the browser's tab; Streamlit would fetch its own icons from the internet."""
    image = Image.new("RGBA", (64, 64))
    draw = ImageDraw.Draw(image)
    draw.ellipse((3, 3, 61, 61), fill="#D3E6E6", outline="#0B6B6B", width=4)
    for box in ((15, 18, 37, 40), (28, 18, 50, 42)):
        draw.ellipse(box, fill="#0B6B6B")
    return image


STYLE = """
<style>
  .stMainBlockContainer { padding-top: 4.5rem; max-width: 1200px; margin: 0 auto; }
  [data-testid="stCaptionContainer"], .stCaption, [data-testid="stCaptionContainer"] p { color: #3F5358; opacity: 1; }
  [data-testid="stMetricValue"] { font-weight: 600; }
</style>
"""
"""Less empty space on top, lines of a length that can be read, captions with enough contrast (7:1)."""
