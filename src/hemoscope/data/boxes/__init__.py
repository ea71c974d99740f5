"""Cells cut out of fields of view along boxes that somebody drew: YOLO, Pascal VOC, COCO."""
