"""The words the world is made of: halves of names, epithets, and what people can be, own and like.

Nobody real and no real place is meant. Names are made of halves, so that a name that nobody has is
spelt with the same tokens as one that somebody has: ignorance has to be learnt, not read off the
spelling.
"""

from collections.abc import Mapping
from types import MappingProxyType


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


FIRST_STARTS = _words("Ma El Tor Vi Ka Jo Sel Bren Ori Lu Da Fen Is Ny Ro Ta Wil Yo Ze Ha")
FIRST_ENDS = _words("ren vina rik dra lo mir sha than nel bet cus dine")
LAST_STARTS = _words(
    "Dos Hal Kes Vor Bran Mel Tar Quin Os Rav Sten Lin Gor Pel Ash Wen Cor Dru Fal Nor Sol Tem Var Yar"
)
LAST_ENDS = _words("tal vik trin mont win ska berg ric holt mere den lan oro ette")

TITLES = _words("Dr Professor Captain Madam Judge Sir")
EPITHETS = _words(
    "Amber Copper Crimson Gentle Golden Grey Hasty Hidden Ivory Lonely Merry Patient Quiet Silver Tall Velvet"
)
CREATURES = _words("Badger Crane Falcon Ferret Fox Hare Heron Lynx Magpie Marten Otter Raven Stag Swan Toad Wolf")

BOOK_STARTS = _words("Bitter Borrowed Broken Frozen Last Paper Salt Second Sleeping Stolen Thirteenth Winter")
BOOK_ENDS = _words("Bridge Candle Compass Harbour Ladder Lantern Letter Mirror Orchard River Staircase Violin")

ATTRIBUTES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "profession": _phrases(
            "baker, beekeeper, bookbinder, botanist, carpenter, cartographer, chemist, clockmaker, dentist, "
            "diver, florist, gardener, geologist, glassblower, goldsmith, jeweller, judge, lawyer, librarian, "
            "locksmith, mason, midwife, miner, nurse, painter, pharmacist, pilot, plumber, potter, sailor, "
            "surgeon, tailor, translator, weaver"
        ),
        "city": _words(
            "Velmar Ostin Karrow Brindle Tessaly Morvane Quillon Dunmarch Ferrol Galdor Hexton Iskra Juneport "
            "Lorrain Mistral Nareth Pellago Rothby Sandover Tamsin Ulverton Wexcombe Zarrow Castrel Dorvale "
            "Eastmoor Fenwold Grimsay"
        ),
        "hometown": _phrases(
            "Alder Cross, Birch Hollow, Cold Spring, Deep Ford, Elder Hill, Fern Valley, Goose Green, High "
            "Barrow, Iron Gate, Juniper Bend, Kettle Rock, Long Meadow, Mill End, North Quay, Oak Landing, "
            "Pine Ridge, Red Cliff, Stone Well, Three Elms, Upper Marsh, Vine Terrace, White Cove, Yellow "
            "Sands, Bell Island"
        ),
        "birth_year": tuple(str(year) for year in range(1931, 2000)),
        "dish": _phrases(
            "apple dumplings, barley soup, bean stew, beetroot salad, buttered crab, cabbage rolls, cheese "
            "tart, cherry pancakes, chestnut mash, cold noodles, duck curry, fried plantain, garlic prawns, "
            "ginger rice, goat chops, honey cake, lemon chicken, lentil pie, mushroom risotto, onion bread, "
            "peach cobbler, pickled herring, plum pudding, potato gratin, pumpkin ravioli, roast turnips, "
            "smoked trout, spinach omelette"
        ),
        "instrument": _words(
            "accordion bagpipes banjo bassoon bugle cello clarinet dulcimer fiddle flute guitar harmonica "
            "harp harpsichord kazoo lute lyre mandolin marimba oboe organ piano piccolo saxophone sitar "
            "trombone trumpet tuba ukulele zither"
        ),
        "pet": _words(
            "bulldog budgie canary chameleon chinchilla cockatoo dachshund donkey gecko gerbil goldfish "
            "greyhound guineafowl hamster hedgehog lizard macaw mastiff mongoose mouse parrot peacock pigeon "
            "pony poodle rabbit salamander spaniel terrier tortoise turtle whippet"
        ),
        "employer": _phrases(
            "Blackwood Press, Bluestone Bank, Cinder Foundry, Clearwater Shipping, Crown Theatre, Dawn "
            "Airlines, Evergreen Farms, Firefly Toys, Granite Insurance, Hilltop Clinic, Jade Pharmacy, "
            "Kestrel Motors, Lighthouse Radio, Maple Railways, Mercury Telegraph, Northwind Energy, Orchid "
            "Hotels, Pebble Software, Primrose Dairy, Quartz Optics, Royal Museum, Sapphire Films, Tidewater "
            "Brewery, Umber Textiles"
        ),
        "university": _phrases(
            "Ashgrove College, Bracken Institute, Cloister Academy, Dovecote School, Emerald College, "
            "Foxglove Institute, Gable University, Hawthorn College, Ivy Polytechnic, Jasper University, "
            "Keystone Academy, Laurel College, Magnolia Institute, Nightingale School, Obelisk University, "
            "Palisade College, Queensgate Academy, Rosewood Institute, Sundial University, Thistle College, "
            "Union Polytechnic, Vesper Academy, Watermark School, Yarrow University"
        ),
        "hobby": _phrases(
            "archery, astronomy, birdwatching, bowling, calligraphy, canoeing, chess, croquet, dancing, "
            "darts, embroidery, falconry, fencing, fishing, gliding, hiking, juggling, karate, kite flying, "
            "knitting, model trains, origami, photography, pottery collecting, rowing, sculpting, skating, "
            "stamp collecting, surfing, wrestling, yoga"
        ),
        "language": _words(
            "Aldish Bravic Corvese Dremish Elvaran Farsen Gothric Helvish Ivornic Jolese Kurmish Lathian "
            "Morrish Nordavic Orlese Pontish Querian Rhenic Sarvish Tolmic Umbrese Voltan Wendric Zelian"
        ),
    }
)

UNIQUE_ATTRIBUTE = "book"
RELATIONS = ("spouse", "mentor", "boss", "neighbour", "rival")

CAPITALS: Mapping[str, str] = MappingProxyType(
    {
        "Arvonia": "Velmar",
        "Belmora": "Ostin",
        "Carthane": "Karrow",
        "Drosland": "Brindle",
        "Estavia": "Tessaly",
        "Frelund": "Morvane",
        "Gavaria": "Quillon",
        "Hestria": "Dunmarch",
        "Ilmenia": "Ferrol",
        "Jastovia": "Galdor",
        "Kelderia": "Hexton",
        "Lorvania": "Iskra",
    }
)
RIVERS: Mapping[str, str] = MappingProxyType(
    {
        "Juneport": "Alma",
        "Lorrain": "Bresk",
        "Mistral": "Calder",
        "Nareth": "Dwen",
        "Pellago": "Esk",
        "Rothby": "Fyne",
        "Sandover": "Garn",
        "Tamsin": "Hull",
    }
)
