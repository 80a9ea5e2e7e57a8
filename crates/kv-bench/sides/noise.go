package main

import "math/rand"

// Values that nobody can compress.
type noise struct{ source *rand.Rand }

func newNoise(seed int64) noise {
	return noise{rand.New(rand.NewSource(seed))}
}

func (n noise) bytes(count int) []byte {
	value := make([]byte, count)
	n.source.Read(value)
	return value
}
