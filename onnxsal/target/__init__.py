"""Which number is explained: from what the user says to one `Target` per example, and from answers to its value.

3                   index 3 of the first output that holds real numbers
logits[3]           index 3 of output ``logits``; the batch axis is never written
boxes[0,5,4]        an index into an output of higher rank
mask[1].sum()       an index that leaves many numbers, and what is done with them: sum, mean, max, min or prod
argmax              the class of the highest number (what no target at all means, where there is a class axis)
runnerup            the class of the second highest
tokens[7,argmax]    the highest along that axis
top3                the three highest classes, each explained by itself
label:tabby         the class of that name, where the model's metadata names its classes
argmax - runnerup   the difference of two targets: why this rather than that
mask[1].region()    the class summed over the places where it is the highest; ``mask[argmax]``: the widest class
mask[1].over(FILE)  summed over the places that a mask shows, an ``.npy`` file or a picture
embedding.cosine(FILE)  the cosine similarity to a reference, an ``.npy`` file
box:10,20,90,80     the score of the detection whose box lies closest, in the units the model answers in
box:10,20,90,80@cat  the same of one class, by its index or name
"""

from onnxsal.target.answers import Answers, ask
from onnxsal.target.other import other_class
from onnxsal.target.resolver import output_of, resolve, split_neuron
from onnxsal.target.value import outputs_of, value_of

__all__ = ["Answers", "ask", "other_class", "output_of", "outputs_of", "resolve", "split_neuron", "value_of"]
