"""How numbers are written: one home for every format, used in all outputs."""

from __future__ import annotations

import math

_SYMBOLS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def number(value: float) -> str:
    """Two or three significant digits, scientific where zeros would pile up.

    A count (an `int`) is written whole.

    Example:
        >>> number(2.302585), number(0.00042), number(1.234e-7), number(float("nan"))
        ('2.30', '4.2e-4', '1.2e-7', 'NaN')
        >>> number(0.0), number(0.0213), number(-12.5), number(1500), number(3.2e9)
        ('0', '0.021', '-12.5', '1,500', '3.2e9')
        >>> number(14), number(14.0)
        ('14', '14.0')
    """
    if isinstance(value, int) and abs(value) < 1e6:
        return f"{value:,}"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Inf" if value > 0 else "-Inf")
    size = abs(value)
    if size == 0:
        return "0"
    if size < 1e-2 or size >= 1e6:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    if size >= 99.95:
        return f"{value:,.0f}"
    if size < 0.995:
        return f"{value:.2g}"
    return f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"


def power(value: float) -> str:
    """A power of ten as an axis writes it.

    Example:
        >>> power(1e-7), power(1.0), power(100.0)
        ('1e-7', '1', '100')
    """
    exponent = round(math.log10(value))
    return f"1e{exponent}" if abs(exponent) > 2 else f"{10.0**exponent:g}"


def percent(share: float) -> str:
    """A share of 1 in percent.

    Example:
        >>> percent(0.624), percent(0.004), percent(1.0), percent(0.0)
        ('62 %', '0.4 %', '100 %', '0 %')
        >>> percent(0.9999), percent(0.0001)
        ('99.9 %', '0.1 %')
    """
    if not math.isfinite(share):
        return number(share)
    hundredths = 100 * share
    # only none is 0 %, only all is 100 %
    if 0 < hundredths < 0.95 or 99.5 <= hundredths < 100:
        return f"{min(max(hundredths, 0.1), 99.9):.1f} %"
    return f"{hundredths:.0f} %"


def bits(value: float) -> str:
    """Headroom, in bits.

    Example:
        >>> bits(3.14159), bits(126.98)
        ('3.1 bits', '127 bits')
    """
    if not math.isfinite(value):
        return number(value)
    return f"{value:.0f} bits" if abs(value) >= 99.5 else f"{value:.1f} bits"


def duration(seconds: float) -> str:
    """A time span.

    Example:
        >>> duration(0.0123), duration(12.34), duration(754), duration(7260)
        ('12 ms', '12.3 s', '12 min 34 s', '2 h 1 min')
    """
    if not math.isfinite(seconds):
        return "?"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def compact(value: float) -> str:
    """A count or a rate, with an SI prefix.

    Example:
        >>> compact(950), compact(12_345), compact(3.2e6)
        ('950', '12.3k', '3.2M')
    """
    for size, symbol in _SYMBOLS:
        if abs(value) >= size:
            return f"{value / size:.1f}{symbol}"
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.1f}"


def times(ratio: float) -> str:
    """A ratio, as a factor.

    Example:
        >>> times(12.3), times(1e7)
        ('12.3×', '1e7×')
    """
    return f"{number(ratio)}×"


def count(amount: int, noun: str) -> str:
    """An amount with its noun, in the right number.

    Example:
        >>> count(1, "step"), count(1500, "step")
        ('1 step', '1,500 steps')
    """
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def evaluation(name: str) -> str:
    """What a held-out metric is called: its own name if that says as much.

    Example:
        >>> evaluation("accuracy"), evaluation("test_loss")
        ('held-out accuracy', 'test loss')
    """
    words = printable(name).replace("_", " ")
    return words if " " in words else f"held-out {words}"


def printable(text: str) -> str:
    r"""The text with control characters replaced: names can be hostile.

    An escape sequence in a name could rewrite a terminal, and is illegal in XML.

    Example:
        >>> printable("layer\x1b[31m")
        'layer�[31m'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)
