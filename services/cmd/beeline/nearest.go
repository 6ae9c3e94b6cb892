package main

import (
	"fmt"
	"strings"
)

// didYouMean returns a hint at the name that is nearest to a misspelt one, or "" when none is near.
func didYouMean(given string, names []string) string {
	given = strings.ReplaceAll(strings.ToLower(given), "_", "-")
	nearest, best := "", max(2, len(given)/3)+1
	for _, name := range names {
		if d := distance(given, name); d < best {
			nearest, best = name, d
		}
	}
	if nearest == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", nearest)
}

// distance is how many bytes must be inserted, deleted or replaced to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
