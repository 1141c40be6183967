"""What this release is: the story in the tests commits other ones."""

VERSION = "1"
# "miscount" and "crowd" are bad releases: the acceptance job finds the first, only a crowd the second.
FAULT = "none"
