// The sides of the comparison that are written in Go: the method of k8s-kv, and etcd itself.
//
// Each call measures one side once and prints one line of JSON.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"
)

// What one measurement found. Times are in microseconds.
type result struct {
	Micros  []int64 `json:"micros"`
	Seconds float64 `json:"seconds"`
	// With those of the warm-up.
	Calls      int64   `json:"calls"`
	Conflicts  int64   `json:"conflicts"`
	Requests   int64   `json:"requests"`
	CPUSeconds float64 `json:"cpu_seconds"`
	Stored     int     `json:"stored"`
}

// A put of one key, by one of several tasks.
type put func(ctx context.Context, task int, key string, value []byte) error

type options struct {
	kubeconfig, etcd, namespace, bucket, prefix string
	tasks, keys, overwritten, valueBytes        int
	seconds                                     float64
	retries, waits                              bool
	entries                                     string
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 2 {
		return fmt.Errorf("which side: k8s-kv, k8s-kv-fill or etcd?")
	}
	var o options
	flags := flag.NewFlagSet(os.Args[1], flag.ContinueOnError)
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "the API server")
	flags.StringVar(&o.etcd, "etcd", "", "the URL of etcd")
	flags.StringVar(&o.namespace, "namespace", "default", "the namespace of the bucket")
	flags.StringVar(&o.bucket, "bucket", "bucket", "the name of the bucket")
	flags.StringVar(&o.prefix, "prefix", "", "what the keys begin with")
	flags.IntVar(&o.tasks, "tasks", 1, "how many put at a time")
	flags.IntVar(&o.keys, "keys", 100, "how many keys are written in turn by each task")
	flags.IntVar(&o.overwritten, "overwritten", 0, "write any of so many first entries instead")
	flags.IntVar(&o.valueBytes, "value-bytes", 100, "the size of a value")
	flags.Float64Var(&o.seconds, "seconds", 2, "how long")
	flags.BoolVar(&o.retries, "retries", false, "try again after a conflict, at once")
	flags.BoolVar(&o.waits, "waits", false, "wait before that as client-go recommends")
	flags.StringVar(&o.entries, "entries", "", "a file with the entries to fill the bucket with")
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
	}
	found, err := measure(os.Args[1], o)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

func measure(side string, o options) (*result, error) {
	ctx := context.Background()
	switch side {
	case "k8s-kv-fill":
		return fillBucket(ctx, o)
	case "k8s-kv":
		bucket, err := openBucket(o)
		if err != nil {
			return nil, err
		}
		found, err := drive(ctx, o, bucket.put)
		if err != nil {
			return nil, err
		}
		found.Conflicts = bucket.conflicts.Load()
		found.Requests = bucket.requests.Load()
		return found, nil
	case "etcd":
		clients, err := connect(o)
		if err != nil {
			return nil, err
		}
		return drive(ctx, o, clients.put)
	default:
		return nil, fmt.Errorf("there is no side %q", side)
	}
}

// The key of a task's next put.
func (o options) key(task, number int) string {
	if o.overwritten > 0 {
		return fmt.Sprintf("deployments/%07d", rand.IntN(o.overwritten))
	}
	return fmt.Sprintf("%skey-%d-%d", o.prefix, task, number%o.keys)
}

// Puts from several tasks for a while. What ends in the first tenth of the time is dropped as a warm-up.
func drive(ctx context.Context, o options, put put) (*result, error) {
	total := time.Duration(o.seconds * float64(time.Second))
	begun, spent := time.Now(), cpuSeconds()
	measured, end := begun.Add(total/10), begun.Add(total)
	found := &result{Micros: []int64{}, Seconds: end.Sub(measured).Seconds()}
	var all sync.WaitGroup
	var lock sync.Mutex
	var failed error
	for task := range o.tasks {
		all.Go(func() {
			var micros []int64
			calls := int64(0)
			values := newNoise(int64(task) + begun.UnixNano())
			for number := 0; time.Now().Before(end); number++ {
				key := o.key(task, number)
				value := values.bytes(o.valueBytes)
				start := time.Now()
				if err := put(ctx, task, key, value); err != nil {
					lock.Lock()
					failed = err
					lock.Unlock()
					return
				}
				calls++
				if now := time.Now(); !now.Before(measured) && !now.After(end) {
					micros = append(micros, now.Sub(start).Microseconds())
				}
			}
			lock.Lock()
			defer lock.Unlock()
			found.Micros = append(found.Micros, micros...)
			found.Calls += calls
		})
	}
	all.Wait()
	found.CPUSeconds = cpuSeconds() - spent
	return found, failed
}

// The processor time of this process.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}
