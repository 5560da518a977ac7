// Texts to begin with, written for this page. The first is shown when the page opens.

export const samples = [
  {
    name: "A film",
    text:
      "The jokes are dull at first. Then the aunt arrives, and from there on it is a joy: warm, clever, beautifully played. " +
      "It is one of the best films I have seen this year.",
  },
  {
    name: "Mixed",
    text:
      "The first hour is wonderful: two brothers, one van, and a script that trusts them. Then somebody decided it needed " +
      "a car chase, and after it another. By the end I felt nothing but tired. Still, her performance as the aunt is worth the ticket alone.",
  },
  {
    name: "Raving",
    text:
      "I laughed, I wept, I forgot to eat my popcorn. Every frame is beautiful, the music is perfect, and the ending left " +
      "the whole room silent. I would watch it again tonight.",
  },
  {
    name: "Scathing",
    text:
      "A lazy, joyless mess. The jokes are stale, the hero mumbles through every scene, and the plot has holes you could " +
      "park a bus in. What a waste of two hours and a great cast.",
  },
  {
    name: "Negated",
    text: "I expected a dull evening, and it was not dull at all. Nothing in it is badly made, and I was never bored.",
  },
  {
    name: "Ironic",
    text: "Oh great, another superhero who is sad about his father. Just what the world was waiting for. Wake me when it is over.",
  },
  {
    name: "Neutral",
    text: "The film runs for ninety-six minutes. It was shot in Lisbon in the spring and is shown on Tuesdays at eight.",
  },
  {
    name: "A kettle",
    text:
      "Boils a litre in two minutes and looks lovely on the shelf. Sadly the lid broke after a week and the handle gets far too hot. I sent it back.",
  },
  {
    name: "A hotel",
    text:
      "Spotless room, friendly people at the desk, and a breakfast that made us late for everything. The street is noisy at " +
      "night, but with the windows shut we slept well. We would come again.",
  },
  { name: "Three words", text: "Surprisingly good fun." },
];
