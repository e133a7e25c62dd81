"""Texts that try to be more than text, and what of a page is alive."""

from html.parser import HTMLParser

HOSTILE = (
    r"\<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    r"\<svg onload=alert(2)>",
    '"><b onmouseover="x">',
    "[a](tables/x.csv) and ![b](y.png)",
    "<https://evil.example> https://evil.example www.evil.example",
    "*a* _b_ __c__ ~~d~~ a\\",
    "# no heading",
    "- no item",
    "1. no item",
    "> no quotation",
    "a | b",
    "`<b>` ` `` <b> ` x",
    "``<i>``",
    "two\n\n<b>paragraphs</b>\n\n    no code",
    "&lt;b&gt; &amp;amp; &#60;",
    "{{ 7 * 7 }} {% raw %} {# x #}",
    ".. include:: /etc/passwd",
    ".. raw:: html",
    ":ref:`x` `y <javascript:z>`_ |sub| [1]_ x_",
    "title\n=====",
    "==========",
    "::",
)


class live(HTMLParser):  # noqa: N801  it reads as a function
    """Tags, addresses and visible text of an HTML text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.links, self._text = [], [], []
        self.feed(html)
        self.close()
        self.text = " ".join("".join(self._text).split())

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        self.tags.append((tag, names))
        self.links += [v for n, v in attributes if n in {"href", "src", "srcset"}]

    def handle_data(self, data):
        self._text.append(data)
