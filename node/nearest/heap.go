package nearest

// heap is a priority queue. container/heap would allocate memory for each push.
type heap[T any] struct {
	list   []T
	before func(a, b T) bool // whether a leaves before b
}

func (h *heap[T]) push(v T) {
	h.list = append(h.list, v)
	h.up(len(h.list) - 1)
}

func (h *heap[T]) pop() T {
	first := h.list[0]
	h.remove(0)
	return first
}

// remove removes what is at an index of list.
func (h *heap[T]) remove(i int) {
	last := len(h.list) - 1
	h.list[i] = h.list[last]
	h.list = h.list[:last]
	if i < last {
		h.fix(i)
	}
}

// fix restores the order after what is at an index has changed.
func (h *heap[T]) fix(i int) {
	if !h.down(i) {
		h.up(i)
	}
}

func (h *heap[T]) up(i int) {
	for l := h.list; i > 0; {
		parent := (i - 1) / 2
		if !h.before(l[i], l[parent]) {
			return
		}
		l[i], l[parent] = l[parent], l[i]
		i = parent
	}
}

func (h *heap[T]) down(i int) (moved bool) {
	for l := h.list; ; moved = true {
		child := 2*i + 1
		if child >= len(l) {
			return moved
		}
		if child+1 < len(l) && h.before(l[child+1], l[child]) {
			child++
		}
		if !h.before(l[child], l[i]) {
			return moved
		}
		l[i], l[child] = l[child], l[i]
		i = child
	}
}
