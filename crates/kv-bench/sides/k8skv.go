package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/gob"
	"encoding/json"
	"net/http"
	"os"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/retry"
)

// The method of k8s-kv, with nothing of its rate limit: every put reads the ConfigMap, unpacks all
// of the bucket, changes it, packs all of it, and replaces what it has read.
type bucket struct {
	maps      typed.ConfigMapInterface
	name      string
	retries   bool
	waits     bool
	lock      sync.Mutex
	conflicts atomic.Int64
	requests  atomic.Int64
}

type counted struct {
	next  http.RoundTripper
	count *atomic.Int64
}

func (c counted) RoundTrip(request *http.Request) (*http.Response, error) {
	c.count.Add(1)
	return c.next.RoundTrip(request)
}

func openBucket(o options) (*bucket, error) {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 1_000_000, 1_000_000
	b := &bucket{name: o.bucket, retries: o.retries, waits: o.waits}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return counted{next, &b.requests}
	})
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	b.maps = client.CoreV1().ConfigMaps(o.namespace)
	return b, nil
}

func (b *bucket) put(ctx context.Context, _ int, key string, value []byte) error {
	try := func() error {
		err := b.putOnce(ctx, key, value)
		if errors.IsConflict(err) {
			b.conflicts.Add(1)
		}
		return err
	}
	for {
		var err error
		if b.waits {
			err = retry.RetryOnConflict(retry.DefaultRetry, try)
		} else {
			err = try()
		}
		if !b.retries || !errors.IsConflict(err) {
			return err
		}
	}
}

func (b *bucket) putOnce(ctx context.Context, key string, value []byte) error {
	b.lock.Lock()
	defer b.lock.Unlock()
	object, err := b.maps.Get(ctx, b.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	entries, err := unpack(object.Data["data"])
	if err != nil {
		return err
	}
	entries[key] = value
	if object.Data["data"], err = pack(entries); err != nil {
		return err
	}
	_, err = b.maps.Update(ctx, object, metav1.UpdateOptions{})
	return err
}

// Makes the bucket, with the entries of a file: a JSON object whose values are in base64.
func fillBucket(ctx context.Context, o options) (*result, error) {
	b, err := openBucket(o)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(o.entries)
	if err != nil {
		return nil, err
	}
	entries := map[string][]byte{}
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil, err
	}
	data, err := pack(entries)
	if err != nil {
		return nil, err
	}
	object := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: o.bucket},
		Data:       map[string]string{"data": data},
	}
	if _, err := b.maps.Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	return &result{Micros: []int64{}, Stored: len(data)}, nil
}

func pack(entries map[string][]byte) (string, error) {
	var gobbed, zipped bytes.Buffer
	if err := gob.NewEncoder(&gobbed).Encode(entries); err != nil {
		return "", err
	}
	zip, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err := zip.Write(gobbed.Bytes()); err != nil {
		return "", err
	}
	if err := zip.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(zipped.Bytes()), nil
}

func unpack(data string) (map[string][]byte, error) {
	zipped, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return nil, err
	}
	zip, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		return nil, err
	}
	entries := map[string][]byte{}
	return entries, gob.NewDecoder(zip).Decode(&entries)
}
