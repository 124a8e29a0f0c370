//! Word lists that more than one built-in set draws from: common words, one token in GPT-2 after a space.

/// Countries and their capitals.
pub(super) const CAPITALS: &[(&str, &str)] = &[
    ("Afghanistan", "Kabul"),
    ("Australia", "Canberra"),
    ("Austria", "Vienna"),
    ("Belgium", "Brussels"),
    ("Canada", "Ottawa"),
    ("Chile", "Santiago"),
    ("China", "Beijing"),
    ("Cuba", "Havana"),
    ("Denmark", "Copenhagen"),
    ("Egypt", "Cairo"),
    ("England", "London"),
    ("Finland", "Helsinki"),
    ("France", "Paris"),
    ("Germany", "Berlin"),
    ("Greece", "Athens"),
    ("Hungary", "Budapest"),
    ("Indonesia", "Jakarta"),
    ("Iran", "Tehran"),
    ("Iraq", "Baghdad"),
    ("Ireland", "Dublin"),
    ("Italy", "Rome"),
    ("Jamaica", "Kingston"),
    ("Japan", "Tokyo"),
    ("Lebanon", "Beirut"),
    ("Libya", "Tripoli"),
    ("Norway", "Oslo"),
    ("Pakistan", "Islamabad"),
    ("Peru", "Lima"),
    ("Philippines", "Manila"),
    ("Poland", "Warsaw"),
    ("Portugal", "Lisbon"),
    ("Russia", "Moscow"),
    ("Scotland", "Edinburgh"),
    ("Spain", "Madrid"),
    ("Sweden", "Stockholm"),
    ("Switzerland", "Bern"),
    ("Syria", "Damascus"),
    ("Thailand", "Bangkok"),
    ("Tunisia", "Tunis"),
    ("Turkey", "Ankara"),
    ("Wales", "Cardiff"),
];

/// Kinds of things, each with some of its kind.
pub(super) const KINDS: &[(&str, &[&str])] = &[
    (
        "fruit",
        &[
            "apple", "banana", "lemon", "grape", "cherry", "mango", "peach", "pear",
        ],
    ),
    (
        "mammal",
        &["horse", "tiger", "rabbit", "sheep", "lion", "wolf", "goat"],
    ),
    ("tool", &["hammer", "wrench", "drill", "axe", "shovel"]),
    ("instrument", &["piano", "guitar", "violin", "trumpet"]),
    (
        "vehicle",
        &["truck", "bus", "train", "bicycle", "car", "tractor"],
    ),
    (
        "metal",
        &["iron", "copper", "gold", "silver", "tin", "zinc"],
    ),
    ("bird", &["eagle", "owl", "crow", "hawk"]),
    ("fish", &["salmon", "trout", "tuna", "cod"]),
];

/// Things that can be named by one word, for scenes and lists.
pub(super) const THINGS: &[&str] = &[
    "river", "stone", "cloud", "tiger", "garden", "bridge", "window", "mountain", "letter",
    "winter", "summer", "table", "forest", "engine", "paper", "island", "guitar", "pencil",
    "rocket", "ocean", "desert", "planet", "castle", "dragon", "basket", "candle", "farmer",
    "doctor", "soldier", "king", "queen", "bread", "sugar", "butter", "pepper", "salt", "coffee",
    "milk", "honey", "cotton", "leather", "wool", "glass", "wood", "steel", "rain", "snow", "wind",
    "storm", "fire",
];
