// Command checklog checks an exported log and proofs of its records with nothing of the hub:
// notes and trees are those of golang.org/x/mod/sumdb, which the Go project wrote.
//
//	checklog -key VKEY -log FOLDER [-proof FILE]... [-old CHECKPOINT]... [-entries]
//
// FOLDER is a c2sp.org/tlog-tiles export; its checkpoint must be signed by VKEY and its tiles must lead to the root.
// -proof checks a c2sp.org/tlog-proof@v1 against its own checkpoint, recomputes its entry from the record in its extra
// line, and finds that entry in the folder where the folder is long enough. -old checks that the folder's tree only
// appended to an earlier checkpoint. -entries checks every entry of the folder against its tile.
// Exit status: 0 everything holds; 1 something does not; 2 the command line is wrong.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const tileHeight = 8

type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

type folder string

// read returns a tile of w hashes or entries; a full one stands for each of its parts (c2sp.org/tlog-tiles).
func (f folder) read(level string, n int64, w, unit int) ([]byte, error) {
	path := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	path = filepath.Join(string(f), "tile", level, path)
	if w < 1<<tileHeight {
		if data, err := os.ReadFile(fmt.Sprintf("%s.p/%d", path, w)); err == nil {
			if len(data) != w*unit {
				return nil, errors.New("a tile has another length than its name says")
			}
			return data, nil
		}
	}
	data, err := os.ReadFile(path)
	if err == nil && len(data) != unit<<tileHeight {
		return nil, errors.New("a full tile has another length")
	}
	if err != nil {
		return nil, err
	}
	return data[:w*unit], nil
}

func (f folder) Height() int { return tileHeight }

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, t := range tiles {
		data, err := f.read(strconv.Itoa(t.L), t.N, t.W, tlog.HashSize)
		if err != nil {
			return nil, err
		}
		out = append(out, data)
	}
	return out, nil
}

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (f folder) bundle(n int64, size int64) ([]byte, error) {
	w := int64(1 << tileHeight)
	if size-n<<tileHeight < w {
		w = size - n<<tileHeight
	}
	return f.read("entries", n, int(w), 2+sha256.Size)
}

func (f folder) entry(i, size int64) ([]byte, error) {
	data, err := f.bundle(i>>tileHeight, size)
	if err != nil {
		return nil, err
	}
	at := int(i&(1<<tileHeight-1)) * (2 + sha256.Size)
	if binary.BigEndian.Uint16(data[at:]) != sha256.Size {
		return nil, errors.New("an entry has another length than 32")
	}
	return data[at+2 : at+2+sha256.Size], nil
}

// open verifies a signed checkpoint. tlog.ParseTree accepts the Go project's own first line only, so the text is read here.
func open(text []byte, v note.Verifier) (tlog.Tree, error) {
	n, err := note.Open(text, note.VerifierList(v))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) < 4 || lines[0] != v.Name() {
		return tlog.Tree{}, errors.New("no checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, errors.New("the tree size is no number")
	}
	hash, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: hash}, err
}

// entryOf recomputes an entry from MessagePack [1, salt, shared, row].
func entryOf(extra []byte) ([]byte, error) {
	bad := errors.New("the extra line holds no record")
	if len(extra) < 2 || extra[0] != 0x94 || extra[1] != 1 {
		return nil, bad
	}
	rest := extra[2:]
	var parts [3][]byte
	for i := range parts {
		if len(rest) < 5 {
			return nil, bad
		}
		var n, head int
		switch rest[0] {
		case 0xc4:
			n, head = int(rest[1]), 2
		case 0xc5:
			n, head = int(binary.BigEndian.Uint16(rest[1:])), 3
		case 0xc6:
			n, head = int(binary.BigEndian.Uint32(rest[1:])), 5
		default:
			return nil, bad
		}
		if len(rest)-head < n {
			return nil, bad
		}
		parts[i], rest = rest[head:head+n], rest[head+n:]
	}
	if len(rest) != 0 || len(parts[0]) != 16 || len(parts[2]) != 48 {
		return nil, bad
	}
	shared := sha256.Sum256(append([]byte("hub/shared/1"), parts[1]...))
	entry := sha256.Sum256(bytes.Join([][]byte{[]byte("hub/record/1"), parts[0], shared[:], parts[2]}, nil))
	return entry[:], nil
}

func checkProof(text []byte, v note.Verifier, f folder, latest tlog.Tree) error {
	head, signed, ok := strings.Cut(string(text), "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("no proof, or a truncated one")
	}
	tree, err := open([]byte(signed), v)
	if err != nil {
		return err
	}
	extra, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return err
	}
	entry, err := entryOf(extra)
	if err != nil {
		return err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return err
	}
	var path tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		path = append(path, hash)
	}
	if err := tlog.CheckRecord(path, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
		return err
	}
	if f == "" || index >= latest.N {
		return nil
	}
	stored, err := f.entry(index, latest.N)
	if err == nil && !bytes.Equal(stored, entry) {
		err = errors.New("the exported entry is another")
	}
	return err
}

func checkOld(text []byte, v note.Verifier, f folder, latest tlog.Tree) error {
	old, err := open(text, v)
	if err != nil {
		return err
	}
	if old.N == 0 {
		return nil
	}
	proof, err := tlog.ProveTree(latest.N, old.N, tlog.TileHashReader(latest, f))
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, latest.N, latest.Hash, old.N, old.Hash)
}

func checkEntries(f folder, latest tlog.Tree) error {
	reader := tlog.TileHashReader(latest, f)
	for first := int64(0); first < latest.N; first += 1 << tileHeight {
		var indexes []int64
		for i := first; i < latest.N && i < first+1<<tileHeight; i++ {
			indexes = append(indexes, tlog.StoredHashIndex(0, i))
		}
		hashes, err := reader.ReadHashes(indexes)
		if err != nil {
			return err
		}
		for i, hash := range hashes {
			entry, err := f.entry(first+int64(i), latest.N)
			if err != nil {
				return err
			}
			if tlog.RecordHash(entry) != hash {
				return fmt.Errorf("entry %d does not hash to its leaf", first+int64(i))
			}
		}
	}
	return nil
}

func main() {
	key := flag.String("key", "", "verifier key of the log")
	log := flag.String("log", "", "folder of an exported log")
	entries := flag.Bool("entries", false, "check every entry against its tile")
	var proofs, olds list
	flag.Var(&proofs, "proof", "file of a proof (may be repeated)")
	flag.Var(&olds, "old", "file of an earlier checkpoint (may be repeated)")
	flag.Parse()
	v, err := note.NewVerifier(*key)
	if err != nil || flag.NArg() > 0 || (*log == "" && (len(proofs) == 0 || len(olds) > 0 || *entries)) {
		fmt.Fprintln(os.Stderr, "usage: checklog -key VKEY -log FOLDER [-proof FILE]... [-old CHECKPOINT]... [-entries]")
		os.Exit(2)
	}
	failed := false
	report := func(what string, err error) {
		if err != nil {
			failed = true
			fmt.Printf("%s: refused: %v\n", what, err)
			return
		}
		fmt.Printf("%s: ok\n", what)
	}
	var latest tlog.Tree
	f := folder(*log)
	if f != "" {
		text, err := os.ReadFile(filepath.Join(*log, "checkpoint"))
		if err == nil {
			latest, err = open(text, v)
		}
		if err == nil && latest.N > 0 {
			var hash tlog.Hash
			hash, err = tlog.TreeHash(latest.N, tlog.TileHashReader(latest, f))
			if err == nil && hash != latest.Hash {
				err = errors.New("the tiles lead to another root")
			}
		}
		report("checkpoint", err)
		if err != nil {
			os.Exit(1)
		}
	}
	check := func(what string, names list, one func([]byte) error) {
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err == nil {
				err = one(text)
			}
			report(what+" "+filepath.Base(name), err)
		}
	}
	check("proof", proofs, func(text []byte) error { return checkProof(text, v, f, latest) })
	check("old", olds, func(text []byte) error { return checkOld(text, v, f, latest) })
	if *entries {
		report("entries", checkEntries(f, latest))
	}
	if failed {
		os.Exit(1)
	}
}
