"""What the verb `demo` does, part by part. Only `page` and `serving` know that the page is made with Gradio.

models      what restores faces: one student or two, a teacher, and who draws its parsing maps
limits      how much a visitor may ask for
drawn       pictures to try it with: the suite's drawn faces
restoring   what happens on a click: from a file to its faces, restored
views       what of a face is shown, how it is named, and how near it is to the original
markup      the parts of the page that are HTML of our own
page        the page: what stands where, and which click leads to what
serving     a server for it that leaves nothing behind
"""
