"""Pictures of the rendered messages: the mail, and the Markdown as a chat would show it.

    clarihook templates render --to docs/messages
    python docs/messages/screenshots.py [FOLDER]

Needs Chromium on the PATH, and markdown-it-py and Pillow, which clarihook[test] brings.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from markdown_it import MarkdownIt
from PIL import Image, ImageChops

WIDTH, HEIGHT = 1240, 900
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #fff; font-family: "DejaVu Sans", Arial, sans-serif; }}
.views {{ display: flex; gap: 24px; padding: 16px; align-items: flex-start; }}
.mail {{ width: 640px; }}
.chat {{ width: 520px; display: flex; gap: 10px; padding: 12px; font-size: 14px; line-height: 21px;
        color: #1d1c1d; border: 1px solid #e5e7eb; border-radius: 8px; box-sizing: border-box; }}
.icon {{ width: 36px; height: 36px; border-radius: 6px; background: #4a154b; color: #fff;
        flex: none; font-weight: 700; font-size: 18px; line-height: 36px; text-align: center; }}
.text {{ min-width: 0; }}
.name {{ font-weight: 700; }} .name span {{ font-weight: 400; color: #616061; font-size: 12px; }}
.chat h1 {{ font-size: 15px; margin: 2px 0 6px; }} .chat p {{ margin: 4px 0; }}
.chat ul {{ margin: 4px 0; padding-left: 20px; }}
.chat pre {{ background: #f8f8f8; border: 1px solid #ddd; border-radius: 4px; padding: 8px;
            font-size: 11px; line-height: 16px; overflow: hidden; margin: 6px 0; }}
.chat p code, .chat li code {{ background: #f8f8f8; border: 1px solid #ddd; border-radius: 3px;
                              padding: 0 3px; font-size: 12px; color: #c01343; }}
.chat a {{ color: #1264a3; text-decoration: none; }}
</style><div class="views"><div class="mail">{mail}</div>
<div class="chat"><div class="icon">c</div><div class="text">
<div class="name">clarihook <span>7:42 AM</span></div>{chat}</div></div></div>"""


def shoot(page: Path, picture: Path) -> None:
    """The page as a PNG of few colours, without the white below and beside it."""
    subprocess.run(  # noqa: S603 - our own files
        ["chromium", "--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu",  # noqa: S607
         f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={picture}", page.as_uri()],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    with Image.open(picture) as shot:
        image = shot.convert("RGB")
    box = ImageChops.difference(image, Image.new("RGB", image.size, "white")).getbbox()
    assert box is not None, "the page is not empty"
    image = image.crop((0, 0, image.width, min(image.height, box[3] + 16)))
    image.quantize(48).save(picture, optimize=True)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        for mail in sorted(folder.glob("*.html")):
            page = Path(scratch, mail.name)
            chat = MarkdownIt("commonmark", {"breaks": True}).render(
                mail.with_suffix(".md").read_text("utf-8")
            )
            page.write_text(PAGE.format(mail=mail.read_text("utf-8"), chat=chat), "utf-8")
            shoot(page, mail.with_suffix(".png"))


if __name__ == "__main__":
    main()
