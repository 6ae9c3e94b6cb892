//go:build !unix

package edge

import "errors"

const canWriteDirectly = false

func writeDirectly(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }

func readDirectly(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
