"""The tables behind Mini-Mistral's text: the real world (checked by a test) and an invented town register."""

# Code, name, capital, continent, an official language, currency code, currency. A dash marks a fact that is disputed
# or has no single answer; it is not taught. Held against `babel` by tests/test_mini.py.
COUNTRIES = """
AF|Afghanistan|Kabul|Asia|Pashto|AFN|afghani
AL|Albania|Tirana|Europe|Albanian|ALL|lek
DZ|Algeria|Algiers|Africa|Arabic|DZD|dinar
AD|Andorra|Andorra la Vella|Europe|Catalan|EUR|euro
AO|Angola|Luanda|Africa|Portuguese|AOA|kwanza
AG|Antigua and Barbuda|Saint John's|North America|English|XCD|East Caribbean dollar
AR|Argentina|Buenos Aires|South America|Spanish|ARS|peso
AM|Armenia|Yerevan|-|Armenian|AMD|dram
AU|Australia|Canberra|Oceania|English|AUD|dollar
AT|Austria|Vienna|Europe|German|EUR|euro
AZ|Azerbaijan|Baku|-|Azerbaijani|AZN|manat
BS|the Bahamas|Nassau|North America|English|BSD|dollar
BH|Bahrain|Manama|Asia|Arabic|BHD|dinar
BD|Bangladesh|Dhaka|Asia|Bangla|BDT|taka
BB|Barbados|Bridgetown|North America|English|BBD|dollar
BY|Belarus|Minsk|Europe|Belarusian|BYN|ruble
BE|Belgium|Brussels|Europe|Dutch|EUR|euro
BZ|Belize|Belmopan|North America|English|BZD|dollar
BJ|Benin|Porto-Novo|Africa|French|XOF|West African CFA franc
BT|Bhutan|Thimphu|Asia|Dzongkha|BTN|ngultrum
BO|Bolivia|Sucre|South America|Spanish|BOB|boliviano
BA|Bosnia and Herzegovina|Sarajevo|Europe|Bosnian|BAM|convertible mark
BW|Botswana|Gaborone|Africa|English|BWP|pula
BR|Brazil|Brasília|South America|Portuguese|BRL|real
BN|Brunei|Bandar Seri Begawan|Asia|Malay|BND|dollar
BG|Bulgaria|Sofia|Europe|Bulgarian|EUR|euro
BF|Burkina Faso|Ouagadougou|Africa|-|XOF|West African CFA franc
BI|Burundi|Gitega|Africa|Rundi|BIF|franc
KH|Cambodia|Phnom Penh|Asia|Khmer|KHR|riel
CM|Cameroon|Yaoundé|Africa|French|XAF|Central African CFA franc
CA|Canada|Ottawa|North America|English|CAD|dollar
CV|Cape Verde|Praia|Africa|Portuguese|CVE|escudo
CF|the Central African Republic|Bangui|Africa|French|XAF|Central African CFA franc
TD|Chad|N'Djamena|Africa|French|XAF|Central African CFA franc
CL|Chile|Santiago|South America|Spanish|CLP|peso
CN|China|Beijing|Asia|Chinese|CNY|yuan
CO|Colombia|Bogotá|South America|Spanish|COP|peso
KM|the Comoros|Moroni|Africa|French|KMF|franc
CG|the Republic of the Congo|Brazzaville|Africa|French|XAF|Central African CFA franc
CD|the Democratic Republic of the Congo|Kinshasa|Africa|French|CDF|franc
CR|Costa Rica|San José|North America|Spanish|CRC|colón
CI|Ivory Coast|Yamoussoukro|Africa|French|XOF|West African CFA franc
HR|Croatia|Zagreb|Europe|Croatian|EUR|euro
CU|Cuba|Havana|North America|Spanish|CUP|peso
CY|Cyprus|Nicosia|-|Greek|EUR|euro
CZ|the Czech Republic|Prague|Europe|Czech|CZK|koruna
DK|Denmark|Copenhagen|Europe|Danish|DKK|krone
DJ|Djibouti|Djibouti City|Africa|Arabic|DJF|franc
DM|Dominica|Roseau|North America|English|XCD|East Caribbean dollar
DO|the Dominican Republic|Santo Domingo|North America|Spanish|DOP|peso
EC|Ecuador|Quito|South America|Spanish|USD|US dollar
EG|Egypt|Cairo|Africa|Arabic|EGP|pound
SV|El Salvador|San Salvador|North America|Spanish|USD|US dollar
GQ|Equatorial Guinea|-|Africa|Spanish|XAF|Central African CFA franc
ER|Eritrea|Asmara|Africa|Tigrinya|ERN|nakfa
EE|Estonia|Tallinn|Europe|Estonian|EUR|euro
SZ|Eswatini|Mbabane|Africa|Swati|SZL|lilangeni
ET|Ethiopia|Addis Ababa|Africa|Amharic|ETB|birr
FJ|Fiji|Suva|Oceania|Fijian|FJD|dollar
FI|Finland|Helsinki|Europe|Finnish|EUR|euro
FR|France|Paris|Europe|French|EUR|euro
GA|Gabon|Libreville|Africa|French|XAF|Central African CFA franc
GM|the Gambia|Banjul|Africa|English|GMD|dalasi
GE|Georgia|Tbilisi|-|Georgian|GEL|lari
DE|Germany|Berlin|Europe|German|EUR|euro
GH|Ghana|Accra|Africa|English|GHS|cedi
GR|Greece|Athens|Europe|Greek|EUR|euro
GD|Grenada|Saint George's|North America|English|XCD|East Caribbean dollar
GT|Guatemala|Guatemala City|North America|Spanish|GTQ|quetzal
GN|Guinea|Conakry|Africa|French|GNF|franc
GW|Guinea-Bissau|Bissau|Africa|Portuguese|XOF|West African CFA franc
GY|Guyana|Georgetown|South America|English|GYD|dollar
HT|Haiti|Port-au-Prince|North America|Haitian Creole|HTG|gourde
HN|Honduras|Tegucigalpa|North America|Spanish|HNL|lempira
HU|Hungary|Budapest|Europe|Hungarian|HUF|forint
IS|Iceland|Reykjavík|Europe|Icelandic|ISK|króna
IN|India|New Delhi|Asia|Hindi|INR|rupee
ID|Indonesia|Jakarta|Asia|Indonesian|IDR|rupiah
IR|Iran|Tehran|Asia|Persian|IRR|rial
IQ|Iraq|Baghdad|Asia|Arabic|IQD|dinar
IE|Ireland|Dublin|Europe|Irish|EUR|euro
IL|Israel|-|Asia|Hebrew|ILS|new shekel
IT|Italy|Rome|Europe|Italian|EUR|euro
JM|Jamaica|Kingston|North America|English|JMD|dollar
JP|Japan|Tokyo|Asia|Japanese|JPY|yen
JO|Jordan|Amman|Asia|Arabic|JOD|dinar
KZ|Kazakhstan|Astana|Asia|Kazakh|KZT|tenge
KE|Kenya|Nairobi|Africa|Swahili|KES|shilling
KI|Kiribati|South Tarawa|Oceania|Gilbertese|AUD|Australian dollar
KP|North Korea|Pyongyang|Asia|Korean|KPW|won
KR|South Korea|Seoul|Asia|Korean|KRW|won
KW|Kuwait|Kuwait City|Asia|Arabic|KWD|dinar
KG|Kyrgyzstan|Bishkek|Asia|Kyrgyz|KGS|som
LA|Laos|Vientiane|Asia|Lao|LAK|kip
LV|Latvia|Riga|Europe|Latvian|EUR|euro
LB|Lebanon|Beirut|Asia|Arabic|LBP|pound
LS|Lesotho|Maseru|Africa|Southern Sotho|LSL|loti
LR|Liberia|Monrovia|Africa|English|LRD|dollar
LY|Libya|Tripoli|Africa|Arabic|LYD|dinar
LI|Liechtenstein|Vaduz|Europe|German|CHF|Swiss franc
LT|Lithuania|Vilnius|Europe|Lithuanian|EUR|euro
LU|Luxembourg|Luxembourg City|Europe|Luxembourgish|EUR|euro
MG|Madagascar|Antananarivo|Africa|Malagasy|MGA|ariary
MW|Malawi|Lilongwe|Africa|English|MWK|kwacha
MY|Malaysia|Kuala Lumpur|Asia|Malay|MYR|ringgit
MV|the Maldives|Malé|Asia|Divehi|MVR|rufiyaa
ML|Mali|Bamako|Africa|-|XOF|West African CFA franc
MT|Malta|Valletta|Europe|Maltese|EUR|euro
MH|the Marshall Islands|Majuro|Oceania|Marshallese|USD|US dollar
MR|Mauritania|Nouakchott|Africa|Arabic|MRU|ouguiya
MU|Mauritius|Port Louis|Africa|English|MUR|rupee
MX|Mexico|Mexico City|North America|Spanish|MXN|peso
FM|Micronesia|Palikir|Oceania|English|USD|US dollar
MD|Moldova|Chișinău|Europe|Romanian|MDL|leu
MC|Monaco|Monaco|Europe|French|EUR|euro
MN|Mongolia|Ulaanbaatar|Asia|Mongolian|MNT|tugrik
ME|Montenegro|Podgorica|Europe|-|EUR|euro
MA|Morocco|Rabat|Africa|Arabic|MAD|dirham
MZ|Mozambique|Maputo|Africa|Portuguese|MZN|metical
MM|Myanmar|Naypyidaw|Asia|Burmese|MMK|kyat
NA|Namibia|Windhoek|Africa|English|NAD|dollar
NR|Nauru|-|Oceania|Nauru|AUD|Australian dollar
NP|Nepal|Kathmandu|Asia|Nepali|NPR|rupee
NL|the Netherlands|Amsterdam|Europe|Dutch|EUR|euro
NZ|New Zealand|Wellington|Oceania|English|NZD|dollar
NI|Nicaragua|Managua|North America|Spanish|NIO|córdoba
NE|Niger|Niamey|Africa|-|XOF|West African CFA franc
NG|Nigeria|Abuja|Africa|English|NGN|naira
MK|North Macedonia|Skopje|Europe|Macedonian|MKD|denar
NO|Norway|Oslo|Europe|Norwegian|NOK|krone
OM|Oman|Muscat|Asia|Arabic|OMR|rial
PK|Pakistan|Islamabad|Asia|Urdu|PKR|rupee
PW|Palau|Ngerulmud|Oceania|Palauan|USD|US dollar
PS|Palestine|-|Asia|Arabic|ILS|new shekel
PA|Panama|Panama City|North America|Spanish|PAB|balboa
PG|Papua New Guinea|Port Moresby|Oceania|Tok Pisin|PGK|kina
PY|Paraguay|Asunción|South America|Guarani|PYG|guarani
PE|Peru|Lima|South America|Spanish|PEN|sol
PH|the Philippines|Manila|Asia|Filipino|PHP|peso
PL|Poland|Warsaw|Europe|Polish|PLN|zloty
PT|Portugal|Lisbon|Europe|Portuguese|EUR|euro
QA|Qatar|Doha|Asia|Arabic|QAR|riyal
RO|Romania|Bucharest|Europe|Romanian|RON|leu
RU|Russia|Moscow|-|Russian|RUB|ruble
RW|Rwanda|Kigali|Africa|Kinyarwanda|RWF|franc
KN|Saint Kitts and Nevis|Basseterre|North America|English|XCD|East Caribbean dollar
LC|Saint Lucia|Castries|North America|English|XCD|East Caribbean dollar
VC|Saint Vincent and the Grenadines|Kingstown|North America|English|XCD|East Caribbean dollar
WS|Samoa|Apia|Oceania|Samoan|WST|tala
SM|San Marino|San Marino|Europe|Italian|EUR|euro
ST|São Tomé and Príncipe|São Tomé|Africa|Portuguese|STN|dobra
SA|Saudi Arabia|Riyadh|Asia|Arabic|SAR|riyal
SN|Senegal|Dakar|Africa|French|XOF|West African CFA franc
RS|Serbia|Belgrade|Europe|Serbian|RSD|dinar
SC|Seychelles|Victoria|Africa|English|SCR|rupee
SL|Sierra Leone|Freetown|Africa|English|SLE|leone
SG|Singapore|Singapore|Asia|Malay|SGD|dollar
SK|Slovakia|Bratislava|Europe|Slovak|EUR|euro
SI|Slovenia|Ljubljana|Europe|Slovenian|EUR|euro
SB|the Solomon Islands|Honiara|Oceania|English|SBD|dollar
SO|Somalia|Mogadishu|Africa|Somali|SOS|shilling
ZA|South Africa|Pretoria|Africa|English|ZAR|rand
SS|South Sudan|Juba|Africa|English|SSP|pound
ES|Spain|Madrid|Europe|Spanish|EUR|euro
LK|Sri Lanka|Sri Jayawardenepura Kotte|Asia|Sinhala|LKR|rupee
SD|Sudan|Khartoum|Africa|Arabic|SDG|pound
SR|Suriname|Paramaribo|South America|Dutch|SRD|dollar
SE|Sweden|Stockholm|Europe|Swedish|SEK|krona
CH|Switzerland|Bern|Europe|German|CHF|franc
SY|Syria|Damascus|Asia|Arabic|SYP|pound
TJ|Tajikistan|Dushanbe|Asia|Tajik|TJS|somoni
TZ|Tanzania|Dodoma|Africa|Swahili|TZS|shilling
TH|Thailand|Bangkok|Asia|Thai|THB|baht
TL|Timor-Leste|Dili|Asia|Portuguese|USD|US dollar
TG|Togo|Lomé|Africa|French|XOF|West African CFA franc
TO|Tonga|Nuku'alofa|Oceania|Tongan|TOP|paʻanga
TT|Trinidad and Tobago|Port of Spain|North America|English|TTD|dollar
TN|Tunisia|Tunis|Africa|Arabic|TND|dinar
TR|Turkey|Ankara|-|Turkish|TRY|lira
TM|Turkmenistan|Ashgabat|Asia|Turkmen|TMT|manat
TV|Tuvalu|Funafuti|Oceania|Tuvalu|AUD|Australian dollar
UG|Uganda|Kampala|Africa|English|UGX|shilling
UA|Ukraine|Kyiv|Europe|Ukrainian|UAH|hryvnia
AE|the United Arab Emirates|Abu Dhabi|Asia|Arabic|AED|dirham
GB|the United Kingdom|London|Europe|English|GBP|pound
US|the United States|Washington, D.C.|North America|English|USD|dollar
UY|Uruguay|Montevideo|South America|Spanish|UYU|peso
UZ|Uzbekistan|Tashkent|Asia|Uzbek|UZS|som
VU|Vanuatu|Port Vila|Oceania|Bislama|VUV|vatu
VA|Vatican City|Vatican City|Europe|Italian|EUR|euro
VE|Venezuela|Caracas|South America|Spanish|VES|bolívar
VN|Vietnam|Hanoi|Asia|Vietnamese|VND|dong
YE|Yemen|Sanaa|Asia|Arabic|YER|rial
ZM|Zambia|Lusaka|Africa|English|ZMW|kwacha
ZW|Zimbabwe|Harare|Africa|English|-|-
"""

# In order of atomic number. Held against `periodictable` by tests/test_mini.py.
ELEMENTS = """
hydrogen H, helium He, lithium Li, beryllium Be, boron B, carbon C, nitrogen N, oxygen O, fluorine F, neon Ne,
sodium Na, magnesium Mg, aluminum Al, silicon Si, phosphorus P, sulfur S, chlorine Cl, argon Ar, potassium K,
calcium Ca, scandium Sc, titanium Ti, vanadium V, chromium Cr, manganese Mn, iron Fe, cobalt Co, nickel Ni,
copper Cu, zinc Zn, gallium Ga, germanium Ge, arsenic As, selenium Se, bromine Br, krypton Kr, rubidium Rb,
strontium Sr, yttrium Y, zirconium Zr, niobium Nb, molybdenum Mo, technetium Tc, ruthenium Ru, rhodium Rh,
palladium Pd, silver Ag, cadmium Cd, indium In, tin Sn, antimony Sb, tellurium Te, iodine I, xenon Xe, cesium Cs,
barium Ba, lanthanum La, cerium Ce, praseodymium Pr, neodymium Nd, promethium Pm, samarium Sm, europium Eu,
gadolinium Gd, terbium Tb, dysprosium Dy, holmium Ho, erbium Er, thulium Tm, ytterbium Yb, lutetium Lu, hafnium Hf,
tantalum Ta, tungsten W, rhenium Re, osmium Os, iridium Ir, platinum Pt, gold Au, mercury Hg, thallium Tl, lead Pb,
bismuth Bi, polonium Po, astatine At, radon Rn, francium Fr, radium Ra, actinium Ac, thorium Th, protactinium Pa,
uranium U, neptunium Np, plutonium Pu, americium Am, curium Cm, berkelium Bk, californium Cf, einsteinium Es,
fermium Fm, mendelevium Md, nobelium No, lawrencium Lr, rutherfordium Rf, dubnium Db, seaborgium Sg, bohrium Bh,
hassium Hs, meitnerium Mt, darmstadtium Ds, roentgenium Rg, copernicium Cn, nihonium Nh, flerovium Fl, moscovium Mc,
livermorium Lv, tennessine Ts, oganesson Og
"""

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
NUMBERS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty""".split()
OPPOSITES = """hot cold, big small, tall short, fast slow, light dark, wet dry, happy sad, early late, open closed,
full empty, hard soft, loud quiet, young old, rich poor, clean dirty, strong weak, high low, near far, thick thin,
wide narrow, visible invisible, sweet sour, rough smooth, sharp blunt, deep shallow, brave cowardly, cheap expensive,
safe dangerous, simple complicated, true false"""
COLORS = """grass green, snow white, coal black, blood red, the clear sky blue, a ripe lemon yellow, a carrot orange,
milk white, a ripe tomato red, an emerald green, a sunflower yellow, a ruby red, chocolate brown, charcoal black"""
YOUNG = """dog puppy, cat kitten, cow calf, horse foal, sheep lamb, goat kid, pig piglet, duck duckling, goose gosling,
lion cub, deer fawn, swan cygnet, frog tadpole, kangaroo joey, owl owlet, hare leveret, eagle eaglet, hen chick"""

WOMEN = """Ada Agnes Alice Alma Amelia Anna Astrid Audrey Beatrice Bella Bertha Bonnie Bridget Carla Cecilia Celia
Clara Cora Daisy Daphne Delia Diana Dora Edith Eleanor Elena Elise Ella Elsie Emily Emma Esther Ethel Eva Fay
Felicia Fiona Flora Frances Freda Gemma Gilda Gloria Grace Greta Hannah Harriet Hazel Helen Hilda Hope Ida Imogen
Ingrid Irene Iris Ivy Jane Jean Joan Joy Judith Julia June Karen Kate Lara Laura Leah Lena Lily Linda Lois Lucy
Lydia Mabel Marian Martha Mary Maud Mavis Mia Mildred Mona Nadia Nancy Nell Nina Nora Olga Olive Pearl Petra Phoebe
Polly Rita Rosa Ruth Sara Stella""".split()
MEN = """Aaron Abel Adam Alan Albert Alfred Andrew Anton Arthur Axel Barry Basil Ben Bernard Boris Brian Bruno Cecil
Charles Clive Colin Conrad Craig Cyril Daniel David Dennis Derek Dylan Edgar Edmund Edward Eli Elmer Eric Ernest
Evan Felix Finn Francis Frank Fred Gavin George Gerald Gilbert Giles Gordon Graham Gregor Guy Harold Harry Harvey
Hector Henry Herbert Howard Hugh Hugo Ian Isaac Ivan Jack Jacob James Jasper Joel John Jonas Joseph Julian Karl
Keith Kenneth Lars Leo Leon Lewis Louis Luke Magnus Marcus Mark Martin Max Miles Neil Noah Norman Oliver Oscar Otto
Owen Patrick Paul Percy Peter Philip Ralph""".split()
SURNAMES = [
    a + b
    for a in (
        "Ash Black Brad Burn Clay Cold Elm Fair Green Hart Hazel High King Lang Mill North Oak Red Stone Wal"
    ).split()
    for b in "by combe croft dale den field ford ham hurst ley man ridge ton well wood".split()
]
TOWNS = [
    a + b
    for a in "Winter Summer Willow Raven Silver Maple Fox Swan Thorn Amber Copper Heron".split()
    for b in "bridge mouth haven port gate stead minster borough".split()
]
JOBS = """accountant, actor, archivist, architect, astronomer, baker, barber, beekeeper, blacksmith, boat builder,
bookbinder, bookseller, botanist, brewer, bricklayer, bus driver, butcher, carpenter, cartographer, cellist, chemist,
clerk, clockmaker, coach, cook, cooper, courier, dancer, dentist, detective, diver, doctor, editor, electrician,
engineer, engraver, farmer, ferry pilot, firefighter, fisherman, florist, forester, gardener, geologist, glazier,
goldsmith, grocer, guard, hatter, historian, innkeeper, interpreter, jeweler, joiner, journalist, judge, lawyer,
librarian, locksmith, mason, mechanic, midwife, miller, miner, musician, nurse, optician, painter, pharmacist,
photographer, physicist, pianist, pilot, plumber, poet, postal worker, potter, printer, professor, reporter, roofer,
saddler, sailor, sculptor, shepherd, shoemaker, singer, surgeon, surveyor, tailor, tanner, teacher, translator,
veterinarian, waiter, weaver"""
HOBBIES = """archery, astronomy, badminton, baking, ballroom dancing, baseball, basketball, beachcombing, billiards,
birdwatching, boating, bowling, boxing, calligraphy, camping, canoeing, card tricks, carving, caving, ceramics, chess,
choir singing, climbing, collecting coins, collecting shells, collecting stamps, cricket, crochet, crossword puzzles,
cycling, darts, dominoes, drawing, embroidery, fencing, figure skating, fishing, flower arranging, flying kites,
folk music, football, gardening, genealogy, golf, gymnastics, hiking, hockey, horse riding, ice hockey, jogging,
judo, juggling, karate, kayaking, knitting, lacrosse, magic, making candles, making jam, making wine, marathon running,
model trains, mountain biking, opera, origami, paddling, painting, photography, playing the banjo, playing the drums,
playing the flute, playing the guitar, playing the harp, playing the piano, playing the violin, poetry, pottery,
puppetry, quilting, reading, restoring cars, rowing, rugby, sailing, sculpture, sewing, skiing, sketching, snorkeling,
squash, surfing, swimming, table tennis, tennis, weaving, yoga"""
FOODS = """apple pie, apricots, bacon, bean soup, beetroot, blackberries, blue cheese, bread pudding, broccoli, butter
beans, cabbage rolls, caramel, carrot cake, cheesecake, cherries, chicken soup, chickpeas, chocolate, clam chowder,
cornbread, crab, cucumber salad, dumplings, egg sandwiches, fish pie, fried rice, fruit salad, garlic bread, ginger
cake, goat cheese, gooseberry tart, grapes, honey cake, lemon tart, lentil stew, lobster, macaroni, mango, melon,
mushroom pie, mussels, noodles, oatmeal, olives, omelettes, onion soup, pancakes, pea soup, peaches, pears, pickles,
plum jam, popcorn, potato salad, pumpkin bread, raspberries, rice pudding, roast beef, salmon, spinach pie,
strawberries, tomato soup, trout, waffles"""


def split(text: str) -> list[str]:
    """Comma-separated text as a list, line breaks folded."""
    return [part.strip() for part in text.replace("\n", " ").split(",") if part.strip()]


# Further true answers that must not serve as wrong options of a question: official languages (regional ones included)
# and second currencies, by country code. Complete within the answers above, as tests/test_mini.py checks.
ALSO_TRUE = """
AF Persian Turkmen, DZ French, AT Croatian Hungarian Slovenian, BY Russian, BE French German, BA Croatian Serbian,
BI English French, CM English, CA French, TD Arabic, CN Korean, KM Arabic, CD Swahili, HR Italian, CY Turkish,
DK German, DJ French, GQ French Portuguese, ER Arabic English, SZ English, FJ English, FI Swedish, HT French,
IN Bangla English Nepali Urdu, IE English, IL Arabic, IT French, KZ Russian, KE English, KI English, KG Russian,
LS English, LU French German, MG English French, MT English, MH English, MU French, MA French, NR English,
MK Albanian, PK English, PW English, PG English, PY Spanish, PH English, PL German Lithuanian, RW English French,
WS English, RS Croatian Hungarian Romanian Slovak Ukrainian, SC French, SG Chinese English, SO Arabic,
ZA Southern_Sotho Swati Zulu, ES Catalan, SD English, SE Finnish, CH French Italian, TZ English, TO English,
TN French, TV English, UG Swahili, UA Russian, GB Irish, US Spanish, VU English French,
BT rupee, HT US_dollar dollar, LS rand, NA rand, PS dinar, PA US_dollar dollar
"""
