"""Faces in photographs: reading images, finding, cropping and parsing faces.

images      any image file as upright sRGB
folders     the image files of a folder, and what else lies there
colours     modes, colour profiles, greys
detection   boxes and landmarks of faces
crop        from a detected face to the square that networks are trained on
parser      parsing maps by BiSeNet
bisenet_cpu  BiSeNet on CPUs, in float32 and in 8 bits
sides       which eye, brow and ear is the left one
rejection   why a photograph yields no face
"""
