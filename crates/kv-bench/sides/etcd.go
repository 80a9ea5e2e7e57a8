package main

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// How many tasks share a connection: more of them on one would wait for each other, and more
// connections cost the server more.
const tasksPerConnection = 16

type etcdClients struct{ clients []*clientv3.Client }

func connect(o options) (*etcdClients, error) {
	var all etcdClients
	for range (o.tasks + tasksPerConnection - 1) / tasksPerConnection {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{o.etcd}})
		if err != nil {
			return nil, err
		}
		all.clients = append(all.clients, client)
	}
	return &all, nil
}

func (e *etcdClients) put(ctx context.Context, task int, key string, value []byte) error {
	_, err := e.clients[task%len(e.clients)].Put(ctx, "/kv-bench/"+key, string(value))
	return err
}
