"""A product, made up from its number: the same number is always the same product."""

from dataclasses import dataclass

_BRANDS = ("Nordlicht", "Åkerström", "Bäckerei Müller", "Casa Verde", "東京商店", "Ökohaus")
_THINGS = ("Lamp", "Chair", "Kettle", "Rucksack", "Notebook", "Café crème cup", "Drill", "Tent")
_COLOURS = ("red", "grün", "bleu", "черный", "白", "sand")
_MATERIALS = ("oak", "steel", "cotton", "glass", "recycled PET")
_TAGS = ("new", "sale", "bio", "eu-made", "bulky", "gift ☕")


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """About 500 bytes as JSON: nested, with unicode, decimals and an EAN."""

    number: int
    sku: str
    ean: int
    name: str
    brand: str
    price: str
    """Two decimals, as a shop writes it: ``20.00``."""

    stock: int
    weight_kg: str
    active: bool
    created_at: str
    colour: str
    material: str
    category: int
    tag: str
    text: str


def product(number: int, *, seed: int = 0) -> Product:
    """Make product ``number`` (0-based) of the catalogue ``seed``."""
    # Knuth's multiplicative hash: well spread, and the same on every machine.
    mixed = ((number + seed * 7919) * 2654435761) & 0xFFFFFFFF
    thing = _THINGS[mixed % len(_THINGS)]
    colour = _COLOURS[(mixed >> 3) % len(_COLOURS)]
    cents = mixed % 100_000 if number % 5 else mixed % 1_000 * 100
    return Product(
        number=number,
        sku=f"SKU-{number:09d}",
        ean=_ean13(400_638_000_000 + mixed % 1_000_000_000),
        name=f"{thing} {colour} {number}",
        brand=_BRANDS[(mixed >> 5) % len(_BRANDS)],
        price=f"{cents // 100}.{cents % 100:02d}",
        stock=(mixed >> 7) % 1_000,
        weight_kg=f"{(mixed >> 9) % 50}.{mixed % 1_000:03d}",
        active=mixed % 7 != 0,
        created_at=f"20{mixed % 26:02d}-{mixed % 12 + 1:02d}-{mixed % 28 + 1:02d}T"
        f"{mixed % 24:02d}:{mixed % 60:02d}:00Z",
        colour=colour,
        material=_MATERIALS[(mixed >> 11) % len(_MATERIALS)],
        category=mixed % 400,
        tag=_TAGS[(mixed >> 13) % len(_TAGS)],
        text=f'The "{thing}" of {_BRANDS[(mixed >> 5) % len(_BRANDS)]} – made of '
        f"{_MATERIALS[(mixed >> 11) % len(_MATERIALS)]}, checked {mixed % 90 + 10} times.",
    )


def _ean13(twelve_digits: int) -> int:
    digits = f"{twelve_digits:012d}"
    weighted = sum(int(digit) * (1, 3)[place % 2] for place, digit in enumerate(digits))
    return twelve_digits * 10 + -weighted % 10
