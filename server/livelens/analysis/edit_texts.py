"""Sentences of the server's own for rank-1 edits: what usually enters a matrix, and what an edit should leave alone."""

from __future__ import annotations

from typing import Final

# Of many kinds, so that their keys span what a matrix usually reads. About 700 tokens.
COVARIANCE_TEXTS: Final = (
    "The harbour was quiet that morning, and only two boats had come back before the rain began to fall.",
    "In 1889 the exhibition opened to the public; more than thirty million people visited it before November.",
    "She asked him whether the train to Vienna had already left, but nobody on the platform seemed to know.",
    "Water boils at a lower temperature in the mountains because the pressure of the air is lower there.",
    "def area(width, height):\n    return width * height\n\nprint(area(3, 4))",
    "Berlin is the capital of Germany, Madrid is the capital of Spain, and Lisbon is the capital of Portugal.",
    "The committee will meet on Tuesday at half past nine to discuss the budget for the coming year.",
    "My grandmother kept her recipes in a blue notebook: flour, butter, a little salt, and patience.",
    "The Great Wall of China is several thousand kilometres long and was built over many centuries.",
    "If the temperature rises by two degrees, the ice on the northern slopes will be gone within decades.",
    "He plays the piano beautifully, although he never learned to read music and forgets the words.",
    "The company announced on Monday that its profits had fallen by 12 percent compared with last year.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen in the leaves of plants.",
    "Once upon a time there was a fox who lived at the edge of a forest and was afraid of the dark.",
    "The Colosseum in Rome could hold more than fifty thousand people, who came to see the games.",
    "To install the package, run the command below, then restart the server and open your browser.",
    "Mozart was born in Salzburg in 1756 and wrote his first symphony when he was eight years old.",
    "The patient had a mild fever, no pain, and a cough that had lasted for about three weeks.",
    "Shakespeare wrote Hamlet around 1600; the oldest text that we have was printed three years later.",
    "Tokyo, Cairo and Mexico City are among the largest cities in the world, and they are still growing.",
    '"I do not believe you," said the old man, and he closed the door without another word.',
    "The sum of the angles of a triangle is 180 degrees, as long as it is drawn on a flat surface.",
    "Our hotel was near the station, the rooms were clean, and breakfast was served until eleven.",
    "The Statue of Liberty was a present from the people of France and stands in the harbour of New York.",
    "Dogs can hear sounds that are far too high for people, and they can follow a trail for days.",
    "The river Nile flows north through Sudan and Egypt and ends in the Mediterranean Sea.",
    "SELECT name, price FROM products WHERE price < 20 ORDER BY name;",
    "After the war the bridge was rebuilt in steel, wider than before, with a lane for bicycles.",
    "Big Ben is the name of the bell in the clock tower of the Palace of Westminster in London.",
    "Einstein received the Nobel Prize in Physics for his explanation of the photoelectric effect.",
)

SPILLOVER_PROMPTS: Final = (
    "The Colosseum is in the city of",
    "The Brandenburg Gate is in the city of",
    "The capital of France is",
    "The Louvre is in the city of",
    "Water is made of hydrogen and",
    "Once upon a time, there was a little",
    "The president of the United States lives in the",
    "Two plus two equals",
)
