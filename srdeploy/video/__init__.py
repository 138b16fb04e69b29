"""Videos in, larger videos out: colour, timestamps, sound and subtitles stay what they are."""
