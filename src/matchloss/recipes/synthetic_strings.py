"""What signs, shops and streets say, for words that are drawn."""

import string

import numpy as np

SIGNS = """
    exit entrance open closed sale free new push pull stop taxi bus train station airport hotel bank cafe coffee tea
    bar restaurant kitchen bakery pizza noodle rice chicken fish burger juice water milk beer wine food court market
    fresh fruit flower shop store mall plaza centre tower garden park lake river bridge road street avenue lane
    drive north south east west central city town square school college library museum theatre cinema music dance
    sport gym fitness yoga beauty salon hair nail spa massage clinic dental doctor hospital pharmacy health care
    optical watch jewel gold silver diamond fashion shoes bag dress men women kids baby toys books art design photo
    print copy computer mobile phone digital electric light fire safety danger warning caution notice private public
    staff only please keep clear no smoking parking entry toilet lift stairs level floor basement lobby counter
    cashier ticket information service help customer card cash payment discount offer special best price buy one get
    off today now more from with and the for you your our all day night hours monday friday sunday am pm summer
    winter red blue green white black orange royal grand golden happy lucky star sun moon ocean island paradise
    dragon tiger lion eagle express global asia international limited group trust energy power solution system
    studio house home living furniture kitchenware hardware motor auto tyre car wash fuel gas oil rent lease office
    property agency travel tour holiday cruise visit welcome thank
""".split()  # noqa: SIM905 a list of so many strings would be a page of quotes
LETTERS = np.array(list(string.ascii_letters))
FORMS = ("#", "##", "###", "####", "##%", "$#.##", "$##", "#:##", "##:##", "####-####", "B#", "##A", "##-##", "No.#")


def draw_string(rng: np.random.Generator) -> str:
    """A word of the list in some case, a number in some form, or mere letters."""
    kind, case = rng.random(2)
    if kind < 0.65:
        word = SIGNS[rng.integers(len(SIGNS))]
        return word.upper() if case < 0.45 else word.capitalize() if case < 0.75 else word
    if kind < 0.85:
        form = FORMS[rng.integers(len(FORMS))]
        return "".join(str(rng.integers(10)) if letter == "#" else letter for letter in form)
    letters = "".join(LETTERS[rng.integers(len(LETTERS), size=rng.integers(1, 9))])
    return letters.upper() if case < 0.5 else letters.lower() if case < 0.75 else letters
