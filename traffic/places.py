"""The places, courses and names that sample worlds are made of."""

from typing import Final, NamedTuple


class City(NamedTuple):
    """A city of students; trainers live in those that are `served`, elsewhere lessons are online."""

    name: str
    zone: str
    latitude: float
    longitude: float
    currency: str
    hours: range  # in which half hours since midnight lessons begin there
    served: bool


_WAKING: Final = range(13, 40)

CITIES: Final = (
    City("Bengaluru", "Asia/Kolkata", 12.9716, 77.5946, "INR", _WAKING, served=True),
    City("Mumbai", "Asia/Kolkata", 19.0760, 72.8777, "INR", _WAKING, served=True),
    # 07:00 to 13:00 there is 11:30 to 18:30 in India, in summer and in winter.
    City("London", "Europe/London", 51.5072, -0.1276, "GBP", range(14, 27), served=False),
)
SERVED: Final = tuple(city for city in CITIES if city.served)
CITY_WEIGHTS: Final = (55, 35, 10)

COURSES: Final = ("crs_yoga", "crs_guitar", "crs_maths", "crs_chess", "crs_english", "crs_painting")

FIRST_NAMES: Final = (
    "kavya", "arjun", "meera", "rohan", "ananya", "vikram", "diya", "nikhil", "isha", "sanjay", "priya", "farhan",
    "leela", "aditya", "zoya", "manish", "tara", "imran", "neha", "karthik", "divya", "joseph", "sunita", "harish",
)  # fmt: skip
LAST_NAMES: Final = (
    "rao", "iyer", "shah", "nair", "khan", "menon", "patil", "dsouza", "gowda", "joshi", "reddy", "bose",
    "kulkarni", "mehta", "pillai", "fernandes", "desai", "hegde", "sheikh", "verma", "kamath", "shetty", "roy",
)  # fmt: skip


def trainer_name(number: int) -> str:
    """A readable name, another one for each number from 0 on."""
    # The two lists have lengths without a common divisor, so together they repeat after 552 names only.
    name = f"{FIRST_NAMES[number % len(FIRST_NAMES)]}_{LAST_NAMES[number % len(LAST_NAMES)]}"
    again = number // (len(FIRST_NAMES) * len(LAST_NAMES))
    return f"{name}_{again + 1}" if again else name
