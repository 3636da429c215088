"""The words that grammar.py makes sentences of, in English and German."""

from __future__ import annotations


def entries(table: str) -> list[list[str]]:
    """One per line or between bars; "_" is a space within a word's place."""
    return [entry.split() for line in table.strip().splitlines() for entry in line.split("|")]


# Singular and plural in English; gender, nominative, accusative and plural in German.
ANIMALS = entries("""
elephant elephants m Elefant Elefanten Elefanten | cat cats f Katze Katze Katzen
dog dogs m Hund Hund Hunde                       | horse horses n Pferd Pferd Pferde
rabbit rabbits m Hase Hasen Hasen                | bear bears m Bär Bären Bären
""")
PEOPLE = entries("""
woman women f Frau Frau Frauen                   | man men m Mann Mann Männer
child children n Kind Kind Kinder                | girl girls n Mädchen Mädchen Mädchen
boy boys m Junge Jungen Jungen                   | teacher teachers f Lehrerin Lehrerin Lehrerinnen
doctor doctors m Arzt Arzt Ärzte                 | neighbour neighbours m Nachbar Nachbarn Nachbarn
""")
THINGS = entries("""
house houses n Haus Haus Häuser                  | book books n Buch Buch Bücher
car cars n Auto Auto Autos                       | picture pictures n Bild Bild Bilder
tree trees m Baum Baum Bäume                     | flower flowers f Blume Blume Blumen
chair chairs m Stuhl Stuhl Stühle                | lamp lamps f Lampe Lampe Lampen
letter letters m Brief Brief Briefe              | bicycle bicycles n Fahrrad Fahrrad Fahrräder
""")
LIVING = ANIMALS + PEOPLE
NOUNS = LIVING + THINGS
# English, German, and what is said to be so: animals, people, things.
ADJECTIVES = entries("""
small klein apt   | big groß apt   | old alt apt     | young jung ap    | beautiful schön apt
red rot at        | white weiß at  | black schwarz at | new neu t        | strange seltsam apt
clever klug ap    | famous berühmt pt | heavy schwer at | funny lustig apt
""")
# With I, with she and with we, and the participle; in German, the form with wir is the infinitive, too, and + is where
# the verb comes apart.
TRANSITIVE = entries("""
see sees see seen = sehe sieht sehen gesehen
love loves love loved = liebe liebt lieben geliebt
find finds find found = finde findet finden gefunden
draw draws draw drawn = zeichne zeichnet zeichnen gezeichnet
hear hears hear heard = höre hört hören gehört
need needs need needed = brauche braucht brauchen gebraucht
forget forgets forget forgotten = vergesse vergisst vergessen vergessen
carry carries carry carried = trage trägt tragen getragen
look_for looks_for look_for looked_for = suche sucht suchen gesucht
""")
TRANSITIVE_LIVING = entries("""
call calls call called = an+rufe an+ruft an+rufen angerufen
invite invites invite invited = ein+lade ein+lädt ein+laden eingeladen
pick_up picks_up pick_up picked_up = ab+hole ab+holt ab+holen abgeholt
""")  # not done to things
INTRANSITIVE = entries("""
sleep sleeps sleep slept = schlafe schläft schlafen geschlafen
laugh laughs laugh laughed = lache lacht lachen gelacht
sing sings sing sung = singe singt singen gesungen
wait waits wait waited = warte wartet warten gewartet
work works work worked = arbeite arbeitet arbeiten gearbeitet
""")
SAYING = entries("""
know knows know known = weiß weiß wissen gewusst
say says say said = sage sagt sagen gesagt
hope hopes hope hoped = hoffe hofft hoffen gehofft
""")
BE = entries("am is are been = bin ist sind gewesen")[0]
AUXILIARIES = {
    name: forms
    for name, *forms in entries("""
have have has have = habe hat haben
will will will will = werde wird werden
can can can can = kann kann können
must must must must = muss muss müssen
want want_to wants_to want_to = will will wollen
""")
}
TIMES = entries("today = heute | now = jetzt | here = hier | in_the garden = im Garten | in_the city = in_der Stadt")
PRONOUNS = entries("I 0 ich | she 1 sie | he 1 er | we 2 wir | they 2 sie | Anna 1 Anna | Peter 1 Peter")

GENDERS = "mfnp"  # and plural
CASES = ("nominative", "accusative")
# For each case one form for each of GENDERS.
DETERMINERS = {
    "the": entries("der die das die | den die das die"),
    "this": entries("dieser diese dieses diese | diesen diese dieses diese"),
    "a": entries("ein eine ein - | einen eine ein -"),
    "my": entries("mein meine mein meine | meinen meine mein meine"),
    "his": entries("sein seine sein seine | seinen seine sein seine"),
}
WEAK = entries("e e e en | en e e en")  # of adjectives
MIXED = entries("er e es en | en e es en")  # beside *ein*, which does not always show the gender
