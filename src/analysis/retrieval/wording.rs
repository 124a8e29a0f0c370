//! What prompts say: all of it ours, and none of it known to a model.

/// A rare fact: its sentence, the question, and the part of the sentence that answers it.
pub(super) struct Needle {
    pub sentence: &'static str,
    pub question: &'static str,
    pub answer: &'static str,
}

/// The last one is for the test alone.
pub(super) const NEEDLES: [Needle; 4] = [
    Needle {
        sentence: "The clockmaker Odile Varn keeps the spare key of the north tower inside a blue teapot behind the flour.",
        question: "Where does the clockmaker Odile Varn keep the spare key of the north tower?",
        answer: "inside a blue teapot behind the flour",
    },
    Needle {
        sentence: "Every ninth winter the village of Harrowmere pays its baker with forty jars of honey and a grey goose.",
        question: "What does the village of Harrowmere pay its baker with every ninth winter?",
        answer: "forty jars of honey and a grey goose",
    },
    Needle {
        sentence: "The ferry Old Juniper may not leave Pell harbour before three red lamps and one bell have been counted aloud.",
        question: "What must be counted aloud before the ferry Old Juniper may leave Pell harbour?",
        answer: "three red lamps and one bell",
    },
    Needle {
        sentence: "For her best soup the cook Tamsin Roe asks for seven green pears, wet salt and the ash of an apple tree.",
        question: "What does the cook Tamsin Roe ask for when she makes her best soup?",
        answer: "seven green pears, wet salt and the ash of an apple tree",
    },
];

/// Filler, and values of JSON objects.
pub(super) const SENTENCES: [&str; 40] = [
    "The train to the coast was late again, and nobody complained.",
    "A thin layer of snow covered the steps of the library.",
    "My cousin repairs old radios in a shed behind the house.",
    "They painted the fence white before the guests arrived.",
    "The river turns brown when it rains in the hills.",
    "She folded the letter twice and hid it under the lamp.",
    "Most of the shops close early on the first day of the week.",
    "A dog slept in the sun beside the open door.",
    "The teacher drew a long line across the map.",
    "We carried the table up four flights of stairs.",
    "Nobody remembered who had planted the walnut tree.",
    "The kettle began to whistle while he looked for his glasses.",
    "Two boys raced their bicycles down the empty road.",
    "The museum keeps a room full of broken statues.",
    "He counted the coins slowly and put them in a box.",
    "Fog came in from the sea and stayed until noon.",
    "The orchestra practised the same eight bars all morning.",
    "Her grandmother grew tomatoes along the southern wall.",
    "The bus driver waved to every child he passed.",
    "An old bridge connects the market with the mill.",
    "They argued about the price of wood and then shook hands.",
    "The window would not open because of the fresh paint.",
    "A small crowd waited for the bakery to open.",
    "The doctor wrote her notes with a green pencil.",
    "Leaves gathered in the corners of the quiet yard.",
    "The farmer sold three of his horses in the spring.",
    "His answer was so soft that only the front row heard it.",
    "The path through the forest is marked with yellow stones.",
    "She learned to swim in a lake near the border.",
    "The engine coughed once and then ran without trouble.",
    "Every room of the hotel smelled of soap and oranges.",
    "The children built a castle out of wet cardboard.",
    "A letter from the bank lay unopened for a month.",
    "The sailor tied the rope with a knot we had never seen.",
    "Rain drummed on the roof during the whole lecture.",
    "The editor crossed out the last paragraph and smiled.",
    "Our neighbour keeps bees and gives away the wax.",
    "The lift stopped between two floors for an hour.",
    "He bought a secondhand coat with very deep pockets.",
    "The moon was already up when they left the village.",
];
