package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// size is a number of bytes, written as 65536, 64KiB or 1MiB.
type size int

var sizeUnits = []struct {
	suffix string
	bytes  int
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// UnmarshalText reads what a person wrote.
func (s *size) UnmarshalText(text []byte) error {
	number, unit := strings.TrimSpace(string(text)), 1
	for _, u := range sizeUnits {
		if head, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = strings.TrimSpace(head), u.bytes
			break
		}
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n > math.MaxInt/unit {
		return fmt.Errorf("%q is not a number of bytes, such as 65536, 64KiB or 1MiB", text)
	}
	*s = size(n * unit)
	return nil
}

// String returns the size in the largest unit that needs no fraction.
func (s size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && int(s)%u.bytes == 0 && u.bytes > 1 {
			return strconv.Itoa(int(s)/u.bytes) + u.suffix
		}
	}
	return strconv.Itoa(int(s))
}
