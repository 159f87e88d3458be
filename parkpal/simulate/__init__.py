"""A seeded synthetic city: the same seed, size and start give the same bytes, and the truth is exact.

`city` lays the streets, `people` and `drivers` say what happens on them, `track` what a perfect clockwork saw,
`phones` and `uploads` what the phones report of it, `fences` what is drawn on the map, `truth` what is to be found.
"""
