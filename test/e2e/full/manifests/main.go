// Checks manifests with the types of the projects whose they are: Kubernetes' own decoder, which refuses fields that it does not know, and the loader
// of Compose files. What it could read is printed, one kind and name a line.
//
//	manifests kubernetes < rendered.yaml
//	manifests compose FILE
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"github.com/compose-spec/compose-go/v2/cli"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

func kubernetes() error {
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewYAMLReader(bufio.NewReader(os.Stdin))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		object, kind, err := decoder.Decode(document, nil, nil)
		if err != nil {
			return err
		}
		named, err := meta.Accessor(object)
		if err != nil {
			return err
		}
		fmt.Printf("%s %s\n", kind.Kind, named.GetName())
	}
}

func compose(path string) error {
	options, err := cli.NewProjectOptions([]string{path}, cli.WithName("holdfast"))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	names := project.ServiceNames()
	sort.Strings(names)
	for _, name := range names {
		fmt.Printf("service %s\n", name)
	}
	return nil
}

func main() {
	err := errors.New("expected kubernetes, or compose FILE")
	if len(os.Args) == 2 && os.Args[1] == "kubernetes" {
		err = kubernetes()
	} else if len(os.Args) == 3 && os.Args[1] == "compose" {
		err = compose(os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
