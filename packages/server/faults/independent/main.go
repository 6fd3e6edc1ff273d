// Checks the static layout of one tree with an implementation that is not ours: golang.org/x/mod/sumdb.
//
//	checker DIR VKEY
//
// It opens the checkpoint with the vkey, reads every leaf out of the entry bundles, recomputes the root from the
// leaves, and proves every record by the hash tiles against the signed root (of a large tree every 61st: a proof takes a
// third of a millisecond). Proofs that Evident made itself are
// checked, too: inclusion/<position> is a C2SP tlog-proof of inclusion/<position>.leaf, consistency/<size> the root at
// that size and the hashes of the proof, in base64, a line each. It prints the size and the root.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// reader keeps what it has read: a tile is asked for once for each record below it.
type reader struct {
	dir  string
	kept map[string][]byte
}

func (r reader) Height() int { return height }

func (r reader) SaveTiles([]tlog.Tile, [][]byte) {}

// path turns tile/8/0/x001/067 of sumdb into tile/0/x001/067 of C2SP tlog-tiles.
func path(tile tlog.Tile) string {
	return strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
}

func (r reader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, tile := range tiles {
		name := path(tile)
		if r.kept[name] == nil {
			bytes, err := os.ReadFile(filepath.Join(r.dir, name))
			if err != nil {
				return nil, err
			}
			r.kept[name] = bytes
		}
		data[i] = r.kept[name]
	}
	return data, nil
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// bundle reads the entries of one bundle: each is preceded by its length, two bytes, big-endian.
func bundle(dir string, n int64, width int) [][]byte {
	tile := tlog.Tile{H: height, L: -1, N: n, W: width}
	name := strings.Replace(path(tile), "tile/data", "tile/entries", 1)
	data, err := os.ReadFile(filepath.Join(dir, name))
	fail(err)
	var entries [][]byte
	for len(data) > 0 {
		if len(data) < 2 {
			fail(fmt.Errorf("%s ends within a length", name))
		}
		size := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+size {
			fail(fmt.Errorf("%s ends within an entry", name))
		}
		entries = append(entries, data[2:2+size])
		data = data[2+size:]
	}
	if len(entries) != width {
		fail(fmt.Errorf("%s holds %d entries, not %d", name, len(entries), width))
	}
	return entries
}

// hashes reads lines of base64.
func hashes(lines []string) []tlog.Hash {
	var list []tlog.Hash
	for _, line := range lines {
		hash, err := tlog.ParseHash(line)
		fail(err)
		list = append(list, hash)
	}
	return list
}

// inclusion checks one C2SP tlog-proof: first line, index, hashes, an empty line, the checkpoint.
func inclusion(file string, leaf []byte, position int64, checkpoint string, tree tlog.Tree) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	front, back, found := strings.Cut(string(text), "\n\n")
	lines := strings.Split(front, "\n")
	if !found || back != checkpoint || len(lines) < 2 {
		return fmt.Errorf("%s does not end in the checkpoint", file)
	}
	if lines[0] != "c2sp.org/tlog-proof@v1" || lines[1] != fmt.Sprintf("index %d", position) {
		return fmt.Errorf("%s is no proof of %d", file, position)
	}
	return tlog.CheckRecord(hashes(lines[2:]), tree.N, tree.Hash, position, tlog.RecordHash(leaf))
}

// ownProofs checks what Evident proved itself.
func ownProofs(dir string, checkpoint string, tree tlog.Tree) {
	leaves, err := filepath.Glob(filepath.Join(dir, "inclusion", "*.leaf"))
	fail(err)
	for _, name := range leaves {
		file := strings.TrimSuffix(name, ".leaf")
		position, err := strconv.ParseInt(filepath.Base(file), 10, 64)
		fail(err)
		leaf, err := os.ReadFile(name)
		fail(err)
		fail(inclusion(file, leaf, position, checkpoint, tree))
	}
	sizes, err := filepath.Glob(filepath.Join(dir, "consistency", "*"))
	fail(err)
	for _, file := range sizes {
		size, err := strconv.ParseInt(filepath.Base(file), 10, 64)
		fail(err)
		text, err := os.ReadFile(file)
		fail(err)
		list := hashes(strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"))
		fail(tlog.CheckTree(list[1:], tree.N, tree.Hash, size, list[0]))
	}
	if len(leaves) == 0 || len(sizes) == 0 {
		fail(fmt.Errorf("there is no proof of Evident's own to check"))
	}
}

func main() {
	dir, vkey := os.Args[1], os.Args[2]
	verifier, err := note.NewVerifier(vkey)
	fail(err)
	text, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	fail(err)
	opened, err := note.Open(text, note.VerifierList(verifier))
	fail(err)
	lines := strings.Split(opened.Text, "\n")
	if lines[0] != verifier.Name() {
		fail(fmt.Errorf("the checkpoint is of %s", lines[0]))
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	fail(err)
	root, err := tlog.ParseHash(lines[2])
	fail(err)
	tree := tlog.Tree{N: size, Hash: root}
	tiles := tlog.TileHashReader(tree, reader{dir, map[string][]byte{}})

	stored := make([]tlog.Hash, 0, 2*size)
	memory := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		list := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			list[i] = stored[index]
		}
		return list, nil
	})
	for from := int64(0); from < size; from += 256 {
		width := min(256, int(size-from))
		for i, entry := range bundle(dir, from/256, width) {
			index := from + int64(i)
			added, err := tlog.StoredHashes(index, entry, memory)
			fail(err)
			stored = append(stored, added...)
			if size > 4096 && index%61 != 0 && index != size-1 {
				continue
			}
			proof, err := tlog.ProveRecord(size, index, tiles)
			fail(err)
			fail(tlog.CheckRecord(proof, size, root, index, tlog.RecordHash(entry)))
		}
	}
	recomputed, err := tlog.TreeHash(size, memory)
	fail(err)
	if recomputed != root {
		fail(fmt.Errorf("the entries give the root %v, the checkpoint has %v", recomputed, root))
	}
	ownProofs(dir, string(text), tree)
	fmt.Printf("%d %v\n", size, root)
}
