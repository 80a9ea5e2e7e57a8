// The servers of Kubernetes that the tests need, in one program: each runs as a process of its own,
// so that a test can kill or pause it.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

var servers = map[string]func(){
	"etcd":                    func() { etcdmain.Main(os.Args) },
	"kube-apiserver":          func() { serve(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func() { serve(manager.NewControllerManagerCommand()) },
}

func serve(command *cobra.Command) {
	os.Exit(cli.Run(command))
}

func main() {
	if len(os.Args) < 2 || servers[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: apiserver etcd|kube-apiserver|kube-controller-manager [FLAG...]")
		os.Exit(2)
	}
	// A server finds its name and its flags where it would in a program of its own.
	os.Args = os.Args[1:]
	servers[os.Args[0]]()
}
