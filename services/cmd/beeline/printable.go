package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// printable returns text that does nothing to a terminal: what another client sent may hold sequences that move its
// cursor, change its title or turn the order of letters. In JSON, such characters stand only in strings, so that the
// escapes change the spelling and not the value.
func printable[T ~string | ~[]byte](text T) string {
	s := strings.ToValidUTF8(string(text), "\ufffd")
	if strings.IndexFunc(s, unprintable) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case !unprintable(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16Pair(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// unprintable reports whether r is not simply drawn. The two joiners are harmless, and part of words and emoji.
func unprintable(r rune) bool {
	const nonJoiner, joiner = 0x200c, 0x200d
	return !unicode.IsGraphic(r) && r != nonJoiner && r != joiner
}

// utf16Pair returns the two halves that JSON writes a character beyond U+FFFF as.
func utf16Pair(r rune) (high, low rune) {
	r -= 0x10000
	return 0xd800 + r>>10, 0xdc00 + r&0x3ff
}

// readable returns what a person should see of a message: the text of a JSON string, and any other value as it is.
func readable(data []byte) string {
	var text string
	if len(data) > 0 && data[0] == '"' && json.Unmarshal(data, &text) == nil {
		return printable(text)
	}
	return printable(data)
}
